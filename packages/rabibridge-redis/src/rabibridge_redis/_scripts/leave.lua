-- End a session. ARGV: P, session, queues that it serves ... Returns 1, or 0: call it again, there is more to put back.
local P, session = ARGV[1], ARGV[2]
redis.call('UNLINK', P .. 'i:' .. session)
for i = 3, #ARGV do
  for _, consumer in ipairs(redis.call('HKEYS', P .. 'q:' .. ARGV[i] .. ':c')) do
    if session_of(consumer) == session and not end_of(P, ARGV[i], consumer) then
      return 0
    end
  end
end
return 1
