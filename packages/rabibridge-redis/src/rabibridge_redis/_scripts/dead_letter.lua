-- Keep a request that no worker will process. ARGV: P, queue, reason, deliveries, meta, body, bytes kept at most.
-- Returns 1, or 0: more is kept, run trim.
local P = ARGV[1]
local size = #ARGV[5] + #ARGV[6] + #ARGV[3]
redis.call('INCRBY', P .. 'dead:bytes', size)
redis.call('XADD', P .. 'dead', '*', 'q', ARGV[2], 'r', ARGV[3], 'n', ARGV[4], 'm', ARGV[5], 'b', ARGV[6], 'z', size)
return trim_letters(P, tonumber(ARGV[7])) and 1 or 0
