-- Settle requests, and take others. ARGV: P, queue, consumer, how many to take, ids of up to 1000 that are settled ...
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
  redis.call('XACK', Q .. ':s', GROUP, unpack(ARGV, 5))
  redis.call('XDEL', Q .. ':s', unpack(ARGV, 5))
  if redis.call('EXISTS', Q .. ':d') == 1 then
    redis.call('HDEL', Q .. ':d', unpack(ARGV, 5))
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
local moved = 0  -- how many of them cost as much as several
local function take(entry, deliveries)
  local fields = entry[2]
  local expires = tonumber(fields[6])
  if expires and expires <= now then
    moved = moved + 1
    redis.call('XACK', Q .. ':s', GROUP, entry[1])
    redis.call('XDEL', Q .. ':s', entry[1])
    redis.call('HDEL', Q .. ':d', entry[1])
  else
    -- An entry that somebody else has put there may lack fields.
    taken[#taken + 1] = { entry[1], deliveries, fields[2] or '', fields[4] or '' }
  end
end
local function may_take()
  return #taken < want and moved < MOVED_AT_ONCE and gone < ASKED_AT_ONCE
end
while may_take() do
  local back = redis.call('ZPOPMIN', Q .. ':b')
  if not back[1] then
    break
  end
  local id = id_at(back[1])
  gone, moved = gone + 1, moved + 1
  local entry = redis.call('XCLAIM', Q .. ':s', GROUP, consumer, 0, id)[1]
  if entry then
    take(entry, tonumber(redis.call('HGET', Q .. ':d', id) or 0))
  else
    redis.call('HDEL', Q .. ':d', id)
  end
end
while may_take() do
  local read = redis.call('XREADGROUP', 'GROUP', GROUP, consumer, 'COUNT',
    math.min(want - #taken, MOVED_AT_ONCE), 'STREAMS', Q .. ':s', '>')
  if not read then
    break
  end
  for _, entry in ipairs(read[1][2]) do
    gone = gone + 1
    take(entry, 0)
  end
end
if gone > 0 then
  redis.call('HSET', Q, 'ready', math.max(ready - gone, 0))
  redis.call('HDEL', Q, 'head_ms')
end
redis.call('HSET', Q .. ':f', consumer, want - #taken)
if #taken < want then
  if moved >= MOVED_AT_ONCE or gone >= ASKED_AT_ONCE then
    redis.call('PUBLISH', P .. 's:' .. session_of(consumer), consumer)  -- there may be more: take again
  else
    redis.call('SADD', Q .. ':i', consumer)
  end
end
return taken
