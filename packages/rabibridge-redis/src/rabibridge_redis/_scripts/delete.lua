-- Delete a queue. ARGV: P, queue, 1: only if nobody serves it and nothing waits in it.
-- Returns 1: there is none now; 0: it is in use.
local P, queue = ARGV[1], ARGV[2]
local Q = P .. 'q:' .. queue
if ARGV[3] == '1' and redis.call('EXISTS', Q) == 1 then
  if consumers_of(P, Q) > 0 or drop_expired(P, Q, now_ms()) > 0 then
    return 0
  end
end
delete_queue(P, queue)
return 1
