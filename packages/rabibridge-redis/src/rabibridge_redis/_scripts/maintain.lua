-- Extend the lease of a session, and look after the queues that it serves. ARGV: P, session, lease in ms, milliseconds
-- between two looks at a queue, queues ...
-- Returns -2: the lease has ended; otherwise for each queue 1, 0 (more is to be done at once), or -1: there is none.
local P, session, lease = ARGV[1], ARGV[2], ARGV[3]
if redis.call('PEXPIRE', P .. 'i:' .. session, lease) == 0 then
  return -2
end
local found = {}
for i = 5, #ARGV do
  local queue = ARGV[i]
  local Q = P .. 'q:' .. queue
  local state = 1
  if redis.call('EXISTS', Q) == 0 then
    state = -1
  elseif redis.call('SET', Q .. ':m', session, 'NX', 'PX', ARGV[4]) then
    for _, other in ipairs(redis.call('HKEYS', Q .. ':c')) do
      if session_of(other) ~= session and not is_alive(P, other) and not end_of(P, queue, other) then
        redis.call('DEL', Q .. ':m')
        state = 0
        break
      end
    end
    wake(P, queue, tonumber(redis.call('HGET', Q, 'ready')) or 0)
  end
  found[#found + 1] = state
end
return found
