-- Queue requests. ARGV: P, routing key, and for each of them: time to live in ms or '', meta, body.
-- Returns {number, why}: so many of them are queued, those at the front; the others are not because 0: the queue is
-- full; -1: nobody has registered such a service.
local P = ARGV[1]
local routes = redis.call('HGETALL', P .. 'r:' .. ARGV[2])
local queue = routes[1]
if not queue then
  return { 0, -1 }
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
local size, queue_ttl, ready = tonumber(spec[1]), tonumber(spec[2]), tonumber(spec[3])
if not ready then
  return { 0, -1 }
end
local number = (#ARGV - 2) / 3
local now
if size and size > 0 and ready + number > size then
  -- What the consumers have places for does not wait: it only has not reached them yet. A queue of size 0 takes nothing.
  for _, places in ipairs(redis.call('HVALS', Q .. ':f')) do
    size = size + tonumber(places)
  end
end
if size and ready + number > size then
  -- Requests at the head whose time is up do not count. What is known of the head saves looking at it each time.
  now = now_ms()
  if not (spec[4] and now < tonumber(spec[4])) then
    ready = drop_expired(P, Q, now)
  end
  number = math.max(math.min(number, size - ready), 0)
end
for i = 3, number * 3, 3 do
  local ttl = tonumber(ARGV[i])
  if queue_ttl and (not ttl or queue_ttl < ttl) then
    ttl = queue_ttl
  end
  if ttl then
    now = now or now_ms()
    redis.call('XADD', Q .. ':s', '*', 'm', ARGV[i + 1], 'b', ARGV[i + 2], 'x', now + ttl)
  else
    redis.call('XADD', Q .. ':s', '*', 'm', ARGV[i + 1], 'b', ARGV[i + 2])
  end
end
if number > 0 then
  redis.call('HINCRBY', Q, 'ready', number)
  wake(P, queue, number)
end
return { number, 0 }
