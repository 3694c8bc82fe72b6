-- Drop the oldest dead letters, a few at a time, until those that are left take no more than so many bytes.
-- Returns whether that is so.
local function trim_letters(P, limit)
  local total, dropped = tonumber(redis.call('GET', P .. 'dead:bytes') or 0), 0
  for _ = 1, 200 do
    if total <= limit or dropped > 4194304 then
      break
    end
    local oldest = redis.call('XRANGE', P .. 'dead', '-', '+', 'COUNT', 1)[1]
    if not oldest then
      redis.call('SET', P .. 'dead:bytes', 0)
      return true
    end
    redis.call('XDEL', P .. 'dead', oldest[1])
    dropped = dropped + oldest[2][12]
    total = redis.call('DECRBY', P .. 'dead:bytes', oldest[2][12])
  end
  return total <= limit
end
