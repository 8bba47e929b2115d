"""What Redis does in one step: scripts, which take all that varies as arguments.

The only key that is named is what all keys of the store begin with: they are in one slot with it.
Each script that writes makes sure first that nothing stands in its way (a key of another type, a
store that was dropped): Redis undoes nothing of a script that fails half-way. What needs memory is
written first, as Redis refuses it, and with it the rest, where there is none left.
"""

from __future__ import annotations

import hashlib


class Script:
    """A script of Redis.

    :ivar digest: by which Redis knows it, once it has seen it.
    """

    __slots__ = ("digest", "text")

    def __init__(self, text: str) -> None:
        self.text = text.encode()
        self.digest = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_STANDING = """
local base = KEYS[1]
local call = redis.call
if call('GETRANGE', base .. 'm', 0, 7) ~= ARGV[1] then return 'GONE' end
"""

_ATTRIBUTES = """
local function unpacked(data)
  local found, at = {}, 1
  while at <= #data do
    local start = at + 1 + string.byte(data, at)
    local name = string.sub(data, at + 1, start - 1)
    local high, low = string.byte(data, start, start + 1)
    at = start + 2 + high * 256 + low
    found[name] = string.sub(data, start + 2, at - 1)
  end
  return found
end

local function packed(attributes)
  local parts = {}
  for name, data in pairs(attributes) do
    parts[#parts + 1] = string.char(#name) .. name
      .. string.char(math.floor(#data / 256), #data % 256) .. data
  end
  return table.concat(parts)
end
"""

# generation, (key, record)...: of a plain store, whatever is there.
PUT = Script(
    _STANDING
    + """
local values = base .. 'v:'
if #ARGV == 3 then
  call('ZADD', base .. 'k', 0, ARGV[2])
  return call('SET', values .. ARGV[2], ARGV[3])
end
local members = {}
for i = 2, #ARGV, 2 do
  members[i - 1] = 0
  members[i] = ARGV[i]
end
call('ZADD', base .. 'k', unpack(members))
for i = 2, #ARGV, 2 do call('SET', values .. ARGV[i], ARGV[i + 1]) end
return {ok = 'OK'}
"""
)

# key...: the records, nil for what is not there, an error for what is no record.
GET = Script(
    """
local values, found, get = KEYS[1] .. 'v:', {}, redis.pcall
for i = 1, #ARGV do found[i] = get('GET', values .. ARGV[i]) end
return found
"""
)

# generation, (what, key, expected revision, record or revision, attributes)...: all or none.
# 'P' puts, 'R' removes, 'I' changes attributes. Returns how many were removed, or what stands in
# the way of which: {'C', number, revision that is there}, {'N', number}.
WRITE = Script(
    _STANDING
    + _ATTRIBUTES
    + """
local values, keys, hash, index = base .. 'v:', base .. 'k', base .. 'a', base .. 'i:'
local nothing = string.rep('\\0', 8)
local before, after, touched, removed = {}, {}, {}, 0

call('ZCARD', keys)
for i = 2, #ARGV, 5 do
  local what, key, expected = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  local found = call('GETRANGE', values .. key, 0, 7)
  if found == '' then found = nothing end
  if expected ~= '' and found ~= expected then return {'C', (i - 2) / 5, found} end
  if what == 'I' and found == nothing then return {'N', (i - 2) / 5} end
  if what == 'R' and found ~= nothing then removed = removed + 1 end
  local old = unpacked(call('HGET', hash, key) or '')
  local new = what == 'R' and {} or unpacked(ARGV[i + 4])
  if what == 'I' then
    for name, data in pairs(old) do
      if new[name] == nil then new[name] = data end
    end
    for name, data in pairs(new) do
      if data == '' then new[name] = nil end
    end
  end
  for name in pairs(old) do touched[name] = true end
  for name in pairs(new) do touched[name] = true end
  before[i], after[i] = old, new
end
for name in pairs(touched) do call('ZCARD', index .. name) end

for i = 2, #ARGV, 5 do
  local what, key = ARGV[i], ARGV[i + 1]
  if what == 'P' then
    call('ZADD', keys, 0, key)
    call('SET', values .. key, ARGV[i + 3])
  elseif what == 'I' then
    call('SETRANGE', values .. key, 0, ARGV[i + 3])
  end
  for name, data in pairs(after[i]) do
    if before[i][name] ~= data then call('ZADD', index .. name, 0, data .. key) end
  end
  if next(after[i]) then call('HSET', hash, key, packed(after[i])) end
end
for i = 2, #ARGV, 5 do
  local key = ARGV[i + 1]
  for name, data in pairs(before[i]) do
    if after[i][name] ~= data then call('ZREM', index .. name, data .. key) end
  end
  if next(before[i]) and not next(after[i]) then call('HDEL', hash, key) end
  if ARGV[i] == 'R' then
    call('ZREM', keys, key)
    call('UNLINK', values .. key)
  end
end
return removed
"""
)

# key, or bytes, bytes of a page, key...: record and attributes of each, until a page is full.
FETCH = Script(
    """
local values, hash = KEYS[1] .. 'v:', KEYS[1] .. 'a'
local found, size, limit = {}, 0, tonumber(ARGV[1])
for i = 2, #ARGV do
  local record = redis.call('GET', values .. ARGV[i])
  found[#found + 1] = record
  found[#found + 1] = redis.call('HGET', hash, ARGV[i]) or ''
  size = size + (record and #record or 0)
  if size >= limit then break end
end
return found
"""
)

# sorted set, first bound, second bound, count, bytes of a page, width of the values in it:
# (member, record, attributes)..., and one more than fills a page.
SCAN = Script(
    """
local values, hash, width = KEYS[1] .. 'v:', KEYS[1] .. 'a', tonumber(ARGV[6])
local found, size, limit = {}, 0, tonumber(ARGV[5])
local members = redis.call('ZRANGEBYLEX', KEYS[1] .. ARGV[1], ARGV[2], ARGV[3], 'LIMIT', 0, ARGV[4])
for i = 1, #members do
  local at = width
  if width < 0 then at = string.find(members[i], '\\0', 1, true) end
  local key = string.sub(members[i], at + 1)
  local record = redis.call('GET', values .. key)
  found[3 * i - 2] = members[i]
  found[3 * i - 1] = record
  found[3 * i] = redis.call('HGET', hash, key) or ''
  if size >= limit then break end
  size = size + (record and #record or 0)
end
return found
"""
)

# sorted set, 0 or 1 (from the end), first bound, second bound, count, width of the values in it:
# (member, attributes)...
WALK = Script(
    """
local hash, width = KEYS[1] .. 'a', tonumber(ARGV[6])
local way = ARGV[2] == '1' and 'ZREVRANGEBYLEX' or 'ZRANGEBYLEX'
local found = {}
local members = redis.call(way, KEYS[1] .. ARGV[1], ARGV[3], ARGV[4], 'LIMIT', 0, ARGV[5])
for i = 1, #members do
  local at = width
  if width < 0 then at = string.find(members[i], '\\0', 1, true) end
  found[2 * i - 1] = members[i]
  found[2 * i] = redis.call('HGET', hash, string.sub(members[i], at + 1)) or ''
end
return found
"""
)

# generation (empty: of none), after (a bound), count: removes the keys that come then, and returns
# the last one.
CLEAR = Script(
    _STANDING
    + _ATTRIBUTES
    + """
local values, keys, hash, index = base .. 'v:', base .. 'k', base .. 'a', base .. 'i:'
local found = call('ZRANGEBYLEX', keys, ARGV[2], '+', 'LIMIT', 0, ARGV[3])
for i = 1, #found do
  for name, data in pairs(unpacked(call('HGET', hash, found[i]) or '')) do
    call('ZREM', index .. name, data .. found[i])
  end
  call('HDEL', hash, found[i])
  call('UNLINK', values .. found[i])
  call('ZREM', keys, found[i])
end
return {found[#found]}
"""
)

# expected, new: replaces the description of a store (empty: there is none), and returns that which
# is there then. Where something is left of one that was dropped half, nothing is done.
DESCRIBE = Script(
    """
local base, call = KEYS[1], redis.call
local there = call('GET', base .. 'm') or ''
if there ~= ARGV[1] then return there end
if there == '' and call('ZCARD', base .. 'k') > 0 then return 'LEFT' end
call('SET', base .. 'm', ARGV[2])
return ARGV[2]
"""
)
