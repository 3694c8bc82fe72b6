-- Declare a queue. ARGV: P, queue, size, ttl, ttl in ms, redeclare, preferred, other queue or '', number of keys that
-- both may have, routing keys (these first) ...
-- Returns {what, size, ttl, number}: 'ok'; 'differs': it has these limits; 'served': by so many workers; 'left': it is
-- declared, and in the other queue wait so many requests that nobody serves.
local P, queue, size, ttl, ttl_ms = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local other, shared = ARGV[8], tonumber(ARGV[9])
local Q = P .. 'q:' .. queue
local known = redis.call('HMGET', Q, 'size', 'ttl')
if known[1] and (known[1] ~= size or known[2] ~= ttl) then
  if ARGV[6] ~= '1' then
    return { 'differs', known[1], known[2], 0 }
  end
  local consumers = consumers_of(P, Q)
  if consumers > 0 then
    return { 'served', known[1], known[2], consumers }
  end
  delete_queue(P, queue)
  known[1] = false
end
if not known[1] or redis.call('EXISTS', Q .. ':s') == 0 then
  redis.call('UNLINK', Q, Q .. ':s', Q .. ':b', Q .. ':d', Q .. ':f')
  redis.call('HSET', Q, 'size', size, 'ttl', ttl, 'ttl_ms', ttl_ms, 'ready', 0)
  redis.call('XGROUP', 'CREATE', Q .. ':s', GROUP, '0', 'MKSTREAM')
end
for i = 10, #ARGV do
  redis.call('HSET', P .. 'r:' .. ARGV[i], queue, ARGV[7])
  redis.call('SADD', Q .. ':k', ARGV[i])
end
if other ~= '' and shared > 0 then
  local O = P .. 'q:' .. other
  local waiting = tonumber(redis.call('HGET', O, 'ready'))
  if waiting and consumers_of(P, O) == 0 then
    if waiting == 0 then
      delete_queue(P, other)
    else
      for i = 10, 9 + shared do
        if ARGV[7] == '0' then
          redis.call('HDEL', P .. 'r:' .. ARGV[i], other)
          redis.call('SREM', O .. ':k', ARGV[i])
        end
      end
      return { 'left', size, ttl, waiting }
    end
  end
end
return { 'ok', size, ttl, 0 }
