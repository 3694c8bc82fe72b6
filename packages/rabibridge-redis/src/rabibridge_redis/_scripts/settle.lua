-- Settle requests, and take others. ARGV: P, queue, consumer, how many to take, ids of those that are settled ...
-- Returns a list of {id, deliveries, meta, body}; -1: there is no such queue; -2: the lease of the session has ended.
local P, queue, consumer, want = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local Q = P .. 'q:' .. queue
if redis.call('EXISTS', P .. 'i:' .. session_of(consumer)) == 0 then
  return -2
end
local ready = tonumber(redis.call('HGET', Q, 'ready'))
if not ready then
  return -1
end
if #ARGV > 4 then
  for first = 5, #ARGV, MOVED_AT_ONCE do
    local last = math.min(first + MOVED_AT_ONCE - 1, #ARGV)
    redis.call('XACK', Q .. ':s', GROUP, unpack(ARGV, first, last))
    redis.call('XDEL', Q .. ':s', unpack(ARGV, first, last))
    if redis.call('EXISTS', Q .. ':d') == 1 then
      redis.call('HDEL', Q .. ':d', unpack(ARGV, first, last))
    end
  end
end
local taken = {}
if want == 0 then
  if redis.call('HEXISTS', Q .. ':f', consumer) == 1 then
    redis.call('HINCRBY', Q .. ':f', consumer, #ARGV - 4)
  end
  return taken
end
local now = now_ms()
local gone = 0  -- how many no longer wait
local function take(entry, deliveries)
  local fields = entry[2]
  local expires = tonumber(fields[6])
  if expires and expires <= now then
    redis.call('XACK', Q .. ':s', GROUP, entry[1])
    redis.call('XDEL', Q .. ':s', entry[1])
    redis.call('HDEL', Q .. ':d', entry[1])
  else
    -- An entry that somebody else has put there may lack fields.
    taken[#taken + 1] = { entry[1], deliveries, fields[2] or '', fields[4] or '' }
  end
end
local looked = 0
while #taken < want and looked < MOVED_AT_ONCE do
  local back = redis.call('ZPOPMIN', Q .. ':b')
  if not back[1] then
    break
  end
  local id = id_at(back[1])
  gone, looked = gone + 1, looked + 1
  local entry = redis.call('XCLAIM', Q .. ':s', GROUP, consumer, 0, id)[1]
  if entry then
    take(entry, tonumber(redis.call('HGET', Q .. ':d', id) or 0))
  else
    redis.call('HDEL', Q .. ':d', id)
  end
end
while #taken < want and looked < MOVED_AT_ONCE do
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT',
    math.min(want - #taken, MOVED_AT_ONCE - looked), 'STREAMS', Q .. ':s', '>')
  if not read then
    break
  end
  for _, entry in ipairs(read[1][2]) do
    gone, looked = gone + 1, looked + 1
    take(entry, 0)
  end
end
if gone > 0 then
  redis.call('HSET', Q, 'ready', math.max(ready - gone, 0))
  redis.call('HDEL', Q, 'head_ms')
end
redis.call('HSET', Q .. ':f', consumer, want - #taken)
if #taken < want then
  if looked >= MOVED_AT_ONCE then
    redis.call('PUBLISH', P .. 's:' .. session_of(consumer), consumer)  -- there may be more: take again
  else
    redis.call('SADD', Q .. ':i', consumer)
  end
end
return taken
