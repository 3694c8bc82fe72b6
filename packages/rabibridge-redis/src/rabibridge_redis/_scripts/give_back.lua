-- Put requests back into their queue. ARGV: P, queue, consumer, 1 if they may have been processed, ids ...
local P, queue = ARGV[1], ARGV[2]
local Q = P .. 'q:' .. queue
if redis.call('EXISTS', P .. 'i:' .. session_of(ARGV[3])) == 0 then
  return -2
end
if redis.call('EXISTS', Q) == 0 then
  return -1
end
local ids = {}
for i = 5, #ARGV do
  ids[#ids + 1] = ARGV[i]
end
put_back(Q, ids, ARGV[4] == '1')
wake(P, queue, #ids)
return #ids
