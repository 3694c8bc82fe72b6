-- Keep a request that no worker will process. ARGV: P, queue, reason, deliveries, meta, body, bytes kept at most.
local P, limit = ARGV[1], tonumber(ARGV[7])
local size = #ARGV[5] + #ARGV[6] + #ARGV[3]
local total = redis.call('INCRBY', P .. 'dead:bytes', size)
redis.call('XADD', P .. 'dead', '*', 'q', ARGV[2], 'r', ARGV[3], 'n', ARGV[4], 'm', ARGV[5], 'b', ARGV[6], 'z', size)
while total > limit do
  local oldest = redis.call('XRANGE', P .. 'dead', '-', '+', 'COUNT', 1)[1]
  if not oldest then
    redis.call('SET', P .. 'dead:bytes', 0)
    break
  end
  redis.call('XDEL', P .. 'dead', oldest[1])
  total = redis.call('DECRBY', P .. 'dead:bytes', oldest[2][12])
end
return 1
