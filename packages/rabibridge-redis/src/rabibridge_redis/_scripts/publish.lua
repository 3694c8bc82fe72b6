-- Queue a request. ARGV: P, routing key, time to live in ms or '', meta, body.
-- Returns 1: queued; 0: the queue is full; -1: nobody has registered such a service.
local P, ttl = ARGV[1], tonumber(ARGV[3])
local routes = redis.call('HGETALL', P .. 'r:' .. ARGV[2])
local queue = routes[1]
if not queue then
  return -1
end
if #routes > 2 then
  local best = -1
  for i = 1, #routes, 2 do
    local served = consumers_of(P, P .. 'q:' .. routes[i]) > 0
    local rank = (served and 2 or 0) + tonumber(routes[i + 1])
    if rank > best then
      best, queue = rank, routes[i]
    end
  end
end
local Q = P .. 'q:' .. queue
local spec = redis.call('HMGET', Q, 'size', 'ttl_ms', 'ready', 'head_ms')
local size, queue_ttl = tonumber(spec[1]), tonumber(spec[2])
if not spec[3] then
  return -1
end
local now
if size and tonumber(spec[3]) >= size then
  -- Requests at the head whose time is up do not count. What is known of the head saves looking at it each time.
  now = now_ms()
  if spec[4] and now < tonumber(spec[4]) then
    return 0
  end
  if drop_expired(P, Q, now) >= size then
    return 0
  end
end
if queue_ttl and (not ttl or queue_ttl < ttl) then
  ttl = queue_ttl
end
if ttl then
  redis.call('XADD', Q .. ':s', '*', 'm', ARGV[4], 'b', ARGV[5], 'x', (now or now_ms()) + ttl)
else
  redis.call('XADD', Q .. ':s', '*', 'm', ARGV[4], 'b', ARGV[5])
end
redis.call('HINCRBY', Q, 'ready', 1)
wake(P, queue, 1)
return 1
