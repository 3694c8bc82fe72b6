-- Delete calls that wait in a queue; return how many, up to a number: call it again until it is 0. ARGV: P, queue.
local Q = ARGV[1] .. 'q:' .. ARGV[2]
if redis.call('EXISTS', Q .. ':s') == 0 then
  return 0
end
local dropped = 0
while dropped < MOVED_AT_ONCE do
  local head = redis.call('ZPOPMIN', Q .. ':b')[1]
  local id = head and id_at(head)
  if not id then
    local read = redis.call('XREADGROUP', 'GROUP', GROUP, RETURNED, 'COUNT', 1, 'STREAMS', Q .. ':s', '>')
    local entry = read and read[1][2][1]
    if not entry then
      break
    end
    id = entry[1]
  end
  redis.call('HDEL', Q .. ':d', id)
  redis.call('XACK', Q .. ':s', GROUP, id)
  redis.call('XDEL', Q .. ':s', id)
  redis.call('HINCRBY', Q, 'ready', -1)
  dropped = dropped + 1
end
redis.call('HDEL', Q, 'head_ms')
return dropped
