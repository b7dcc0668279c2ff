-- What wrk sends: three-night holds on random resources and dates, each with an idempotency key of its own.
-- Called by load.py, with `-- TOKEN RUN SEED RESOURCES PATH_TO_DATES`. Reports one JSON line on stderr.
-- Everything that can be is concatenated once: the generator shares the processors with what it measures.

local threads = {}

function setup(thread)
  table.insert(threads, thread)
  thread:set("number", #threads)
end

function init(args)
  local token, run, seed, resources, dates = args[1], args[2], tonumber(args[3]), tonumber(args[4]), args[5]
  math.randomseed(seed * 1000 + number)
  bodies_per_resource, heads, tails, stays = resources, {}, {}, {}
  for stay in io.lines(dates) do stays[#stays + 1] = stay end
  for n = 1, resources do
    local head = '{"items":[{"resource":"bench/r' .. (n - 1) .. '",'
    heads[n] = "POST /v1/bookings HTTP/1.1\r\nHost: " .. wrk.headers["Host"] ..
      "\r\nAuthorization: Bearer " .. token ..
      "\r\nContent-Type: application/json\r\nContent-Length: " .. (#head + #stays[1]) ..
      "\r\nIdempotency-Key: " .. run .. "-" .. number .. "-"
    tails[n] = "\r\n\r\n" .. head
  end
  sent, created, others = 0, 0, {}
end

function request()
  local n = math.random(bodies_per_resource)
  sent = sent + 1
  return heads[n] .. sent .. tails[n] .. stays[math.random(#stays)]
end

function response(status)
  if status == 201 then
    created = created + 1
  else
    others[status] = (others[status] or 0) + 1
  end
end

function done(summary, latency)
  local by_status = {["201"] = 0}
  for _, thread in ipairs(threads) do
    by_status["201"] = by_status["201"] + thread:get("created")
    for status, count in pairs(thread:get("others")) do
      local name = tostring(status)
      by_status[name] = (by_status[name] or 0) + count
    end
  end
  local counts = {}
  for status, count in pairs(by_status) do counts[#counts + 1] = ('"%s":%d'):format(status, count) end
  local broken = summary.errors
  io.stderr:write(('{"requests":%d,"seconds":%.6f,"by_status":{%s},"p50_ms":%.3f,"p95_ms":%.3f,"p99_ms":%.3f,"broken":%d}\n'):format(
    summary.requests, summary.duration / 1e6, table.concat(counts, ","),
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    broken.connect + broken.read + broken.write + broken.timeout))
end
