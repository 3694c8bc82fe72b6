-- Delete dead letters; return how many there were. ARGV: P, ids ...
local P, dropped = ARGV[1], 0
for i = 2, #ARGV do
  local letter = redis.call('XRANGE', P .. 'dead', ARGV[i], ARGV[i])[1]
  if letter then
    redis.call('XDEL', P .. 'dead', ARGV[i])
    redis.call('DECRBY', P .. 'dead:bytes', letter[2][12])
    dropped = dropped + 1
  end
end
return dropped
