-- Drop the requests at the head of a queue whose time is up, a few at a time; return how many wait then.
-- What was looked at and is still valid is put among those that came back, at its place.
local function drop_expired(P, Q, now)
  for _ = 1, 100 do
    local head = redis.call('ZRANGE', Q .. ':b', 0, 0)[1]
    local id, fields
    if head then
      id = id_at(head)
      local entry = redis.call('XRANGE', Q .. ':s', id, id)[1]
      fields = entry and entry[2]
    else
      local read = redis.call('XREADGROUP', 'GROUP', GROUP, RETURNED, 'COUNT', 1, 'STREAMS', Q .. ':s', '>')
      local entry = read and read[1][2][1]
      if not entry then
        redis.call('HSET', Q, 'ready', 0)
        return 0
      end
      id, fields = entry[1], entry[2]
      local ms, place = place_of(id)
      redis.call('ZADD', Q .. ':b', ms, place)
      head = place
    end
    local expires = fields and tonumber(fields[6])
    if fields and not (expires and expires <= now) then
      redis.call('HSET', Q, 'head_ms', expires or 9007199254740991)
      break
    end
    redis.call('ZREM', Q .. ':b', head)
    redis.call('HDEL', Q .. ':d', id)
    redis.call('XACK', Q .. ':s', GROUP, id)
    redis.call('XDEL', Q .. ':s', id)
    redis.call('HINCRBY', Q, 'ready', -1)
  end
  return tonumber(redis.call('HGET', Q, 'ready'))
end
