-- Extend the lease of a session, and look after the queues that it serves. ARGV: P, session, lease in ms, milliseconds
-- between two looks at a queue, queues ...
-- Returns the time in ms, and -2: the lease has ended; or for each queue 1, 0: more is to be done at once, -1: there is none.
local P, session, lease = ARGV[1], ARGV[2], ARGV[3]
local now = now_ms()
if redis.call('PEXPIRE', P .. 'i:' .. session, lease) == 0 then
  return { now, -2 }
end
if #ARGV < 5 then
  redis.call('PUBLISH', P .. 's:' .. session, '')  -- its link for channels hears something without a command of its own
end
-- Somebody looks at each queue in that time. A clock that was set back does not make all of them wait for it.
local function is_due(Q, now)
  local last = tonumber(redis.call('HGET', Q, 'looked_ms'))
  return not last or now < last or now - last >= tonumber(ARGV[4])
end

local found = { now }
for i = 5, #ARGV do
  local queue = ARGV[i]
  local Q = P .. 'q:' .. queue
  local state = 1
  if redis.call('EXISTS', Q) == 0 then
    state = -1
  elseif is_due(Q, now) then
    redis.call('HSET', Q, 'looked_ms', now)
    for _, other in ipairs(dead_among(P, redis.call('HKEYS', Q .. ':c'))) do
      if session_of(other) ~= session then
        redis.call('UNLINK', P .. 'i:' .. session_of(other))  -- it has ended for good: what it still sends is refused
        if not end_of(P, queue, other) then
          redis.call('HDEL', Q, 'looked_ms')
          state = 0
          break
        end
      end
    end
    wake(P, queue, tonumber(redis.call('HGET', Q, 'ready')) or 0)
  end
  found[#found + 1] = state
end
return found
