-- Move a dead letter back into its queue. ARGV: P, id, queue, time to live in ms or '', meta, body.
-- Returns 1: moved; 0: there is no such letter; -1: the queue is full; -2: there is no such queue.
local P, id, queue, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local letter = redis.call('XRANGE', P .. 'dead', id, id)[1]
if not letter then
  return 0
end
local Q = P .. 'q:' .. queue
local spec = redis.call('HMGET', Q, 'size', 'ttl_ms', 'ready')
local size, queue_ttl = tonumber(spec[1]), tonumber(spec[2])
if not spec[3] then
  return -2
end
if size and tonumber(spec[3]) >= size and drop_expired(P, Q, now_ms()) >= size then
  return -1
end
if queue_ttl and (not ttl or queue_ttl < ttl) then
  ttl = queue_ttl
end
if ttl then
  redis.call('XADD', Q .. ':s', '*', 'm', ARGV[5], 'b', ARGV[6], 'x', now_ms() + ttl)
else
  redis.call('XADD', Q .. ':s', '*', 'm', ARGV[5], 'b', ARGV[6])
end
redis.call('HINCRBY', Q, 'ready', 1)
redis.call('XDEL', P .. 'dead', id)
redis.call('DECRBY', P .. 'dead:bytes', letter[2][12])
wake(P, queue, 1)
return 1
