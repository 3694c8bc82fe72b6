-- Take part in serving a queue, or no longer. ARGV: P, queue, consumer, 1: active, 0: finishing, '': gone.
local P, queue, consumer = ARGV[1], ARGV[2], ARGV[3]
local Q = P .. 'q:' .. queue
if ARGV[4] == '' then
  while not end_of(P, queue, consumer) do
    may_move = MOVED_AT_ONCE  -- whoever leaves has settled what it had taken: this is hardly ever needed
  end
elseif redis.call('EXISTS', Q) == 0 then
  return -1
else
  redis.call('HSET', Q .. ':c', consumer, ARGV[4])
  if ARGV[4] == '0' then
    redis.call('SREM', Q .. ':i', consumer)
    redis.call('HDEL', Q .. ':f', consumer)
  end
end
return 1
