-- What wrk sends: GETs of random lines of a file, each a target and, behind a tab, the ETag that the client has.
-- Called by load.py, with `-- TOKEN SEED PATH_TO_LINES`. Reports one JSON line on stderr.
-- Answers are counted one by one only where a 304 may come: for that wrk hands every header to Lua, and the generator
-- shares the processors with what it measures. Elsewhere wrk itself counts what is 400 or above.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(args)
  local token, seed, lines = args[1], tonumber(args[2]), args[3]
  math.randomseed(seed * 1000 + number)
  tail = " HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nAuthorization: Bearer " .. token .. "\r\n"
  heads, conditions, counts, counting = {}, {}, {}, false
  for line in io.lines(lines) do
    local target, etag = line:match("^([^\t]*)\t?(.*)$")
    heads[#heads + 1] = "GET " .. target
    conditions[#heads] = etag == "" and "\r\n" or "If-None-Match: " .. etag .. "\r\n\r\n"
    counting = counting or etag ~= ""
  end
  if counting then
    function response(status) counts[status] = (counts[status] or 0) + 1 end
  end
end

function request()
  local n = math.random(#heads)
  return heads[n] .. tail .. conditions[n]
end

function done(summary, latency)
  local by_status = {}
  for _, thread in ipairs(threads) do
    for status, count in pairs(thread:get("counts")) do
      local name = tostring(status)
      by_status[name] = (by_status[name] or 0) + count
    end
  end
  local broken = summary.errors
  if next(by_status) == nil then
    by_status = {["200"] = summary.requests - broken.status, ["400 or above"] = broken.status > 0 and broken.status or nil}
  end
  local counts = {}
  for status, count in pairs(by_status) do counts[#counts + 1] = ('"%s":%d'):format(status, count) end
  io.stderr:write(('{"requests":%d,"seconds":%.6f,"by_status":{%s},"p50_ms":%.3f,"p95_ms":%.3f,"p99_ms":%.3f,"broken":%d}\n'):format(
    summary.requests, summary.duration / 1e6, table.concat(counts, ","),
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    broken.connect + broken.read + broken.write + broken.timeout))
end
