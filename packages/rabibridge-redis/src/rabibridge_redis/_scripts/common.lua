-- What several scripts use. It is put in front of each of them. The names of all keys begin with P.
--   P..'r:'..key        hash: the queues that a routing key leads to, and whether each of them is preferred
--   P..'q:'..queue      hash: the limits of a queue (size, ttl, ttl_ms), and how many requests wait in it (ready)
--   ...':s'             stream: its requests; the consumer group g has those that a worker has taken
--   ...':b'             sorted set: requests that came back from a worker, by their time
--   ...':d'             hash: how often each of these was delivered
--   ...':c'             hash: its consumers; 1: active, 0: finishing
--   ...':i'             set: the consumers that have places free and wait to be woken
--   ...':f'             hash: how many places each consumer has free, as far as it has told
--   ...':k'             set: its routing keys
--   P..'i:'..session    stream: what is sent to a session. It exists as long as the lease of the session
--   P..'s:'..session    channel: a session listens to it as long as it is connected
-- The name of a consumer is that of its session, a colon and a number.
local GROUP = 'g'
local RETURNED = '-'  -- the consumer that holds the requests that came back
-- The server does nothing else while a script runs. So each moves only so many requests, and is called again.
local MOVED_AT_ONCE = 200
local ASKED_AT_ONCE = 1000

local function session_of(consumer)
  return string.sub(consumer, 1, 32)
end

local function is_alive(P, consumer)
  local session = session_of(consumer)
  return redis.call('EXISTS', P .. 'i:' .. session) == 1
    and redis.call('PUBSUB', 'NUMSUB', P .. 's:' .. session)[2] > 0
end

-- Return those of many consumers whose session has ended.
local function dead_among(P, consumers)
  local dead = {}
  for first = 1, #consumers, ASKED_AT_ONCE do
    local channels, connected, inboxes = {}, {}, {}
    for i = first, math.min(first + ASKED_AT_ONCE - 1, #consumers) do
      channels[#channels + 1] = P .. 's:' .. session_of(consumers[i])
    end
    local listening = redis.call('PUBSUB', 'NUMSUB', unpack(channels))
    for i = 1, #channels do
      local consumer = consumers[first + i - 1]
      if listening[2 * i] == 0 then
        dead[#dead + 1] = consumer
      else
        connected[#connected + 1], inboxes[#inboxes + 1] = consumer, P .. 'i:' .. session_of(consumer)
      end
    end
    if #inboxes > 0 and redis.call('EXISTS', unpack(inboxes)) < #inboxes then
      for i, inbox in ipairs(inboxes) do
        if redis.call('EXISTS', inbox) == 0 then
          dead[#dead + 1] = connected[i]
        end
      end
    end
  end
  return dead
end

-- Return how many consumers take requests from a queue.
local function consumers_of(P, Q)
  local active = {}
  local found = redis.call('HGETALL', Q .. ':c')
  for i = 1, #found, 2 do
    if found[i + 1] == '1' then
      active[#active + 1] = found[i]
    end
  end
  return #active - #dead_among(P, active)
end

-- Wake as many consumers as there are new requests.
local function wake(P, queue, number)
  local Q = P .. 'q:' .. queue
  while number > 0 do
    local consumer = redis.call('SPOP', Q .. ':i')
    if not consumer then
      return
    end
    if redis.call('PUBLISH', P .. 's:' .. session_of(consumer), consumer) > 0 then
      number = number - 1
    end
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- The position of a request among those that came back, and the way back from it: zeros make texts sort as numbers.
local function place_of(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return ms, string.format('%s-%012d', ms, seq)
end

local function id_at(place)
  local ms, seq = string.match(place, '^(%d+)-0*(%d+)$')
  return ms .. '-' .. seq
end

-- Put requests that a consumer has taken back into the queue. counted: it may have begun to process them.
local function put_back(Q, ids, counted)
  if #ids == 0 then
    return
  end
  local added = 0
  for _, id in ipairs(ids) do
    local ms, place = place_of(id)
    if redis.call('ZADD', Q .. ':b', ms, place) == 1 then
      added = added + 1
      if counted then
        redis.call('HINCRBY', Q .. ':d', id, 1)
      end
    end
  end
  local claim = { 'XCLAIM', Q .. ':s', GROUP, RETURNED, 0, unpack(ids) }
  claim[#claim + 1] = 'JUSTID'
  redis.call(unpack(claim))
  redis.call('HINCRBY', Q, 'ready', added)
  redis.call('HDEL', Q, 'head_ms')
end

local may_move = MOVED_AT_ONCE

-- Put back what a consumer has taken, in steps; return whether all of it is back. Before that, call the script again.
local function end_of(P, queue, consumer)
  local Q = P .. 'q:' .. queue
  if may_move <= 0 then
    return false
  end
  local limit = may_move
  may_move = may_move - 2  -- one that has taken nothing costs as much as two requests
  if redis.call('EXISTS', Q .. ':s') == 1 then
    local taken = redis.call('XPENDING', Q .. ':s', GROUP, '-', '+', limit, consumer)
    local ids = {}
    for i = 1, #taken do
      ids[i] = taken[i][1]
    end
    put_back(Q, ids, true)
    wake(P, queue, #ids)
    may_move = may_move - #ids
    if #ids == limit then
      return false
    end
    redis.call('XGROUP', 'DELCONSUMER', Q .. ':s', GROUP, consumer)
  end
  redis.call('HDEL', Q .. ':c', consumer)
  redis.call('SREM', Q .. ':i', consumer)
  redis.call('HDEL', Q .. ':f', consumer)
  return true
end

local function delete_queue(P, queue)
  local Q = P .. 'q:' .. queue
  for _, key in ipairs(redis.call('SMEMBERS', Q .. ':k')) do
    redis.call('HDEL', P .. 'r:' .. key, queue)
  end
  local consumers = redis.call('HKEYS', Q .. ':c')
  redis.call('UNLINK', Q, Q .. ':s', Q .. ':b', Q .. ':d', Q .. ':c', Q .. ':i', Q .. ':f', Q .. ':k')
  for _, consumer in ipairs(consumers) do
    redis.call('PUBLISH', P .. 's:' .. session_of(consumer), consumer)  -- it notices, and declares the queue again
  end
end
