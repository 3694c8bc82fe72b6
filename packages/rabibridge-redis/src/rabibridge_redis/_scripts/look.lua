-- Return {consumers, waiting requests} of a queue, or -1. ARGV: P, queue.
local Q = ARGV[1] .. 'q:' .. ARGV[2]
if redis.call('EXISTS', Q) == 0 then
  return -1
end
if drop_expired(ARGV[1], Q, now_ms()) < 0 then
  redis.call('HSET', Q, 'ready', 0)
end
return { consumers_of(ARGV[1], Q), tonumber(redis.call('HGET', Q, 'ready')) }
