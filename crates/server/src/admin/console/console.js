// The console: reads the JSON below /monitoring every two seconds while the page is visible, and
// shows it. Text from the server only ever becomes text nodes.
"use strict";

const INTERVAL_MS = 2000;
const SAMPLES = 60;
const SHOWN_DENIALS = 20;

const byId = (id) => document.getElementById(id);
const samples = [];
let before = null;

// A browser refuses to fetch from an address with a password, as the page's own may be.
const read = (path) =>
  fetch(new URL(path, location.origin), { cache: "no-store" });

// Parts that a replica may lack: an older one, or one without objectives.
const optional = async (path) => {
  const response = await read(path);
  return response.ok ? response.json() : null;
};

const required = async (path) => {
  const response = await read(path);
  if (response.ok) {
    return response.json();
  }
  const problem = await response.json().catch(() => ({}));
  throw new Error(problem.detail || `${path}: status ${response.status}`);
};

const number = (value, digits = 0) =>
  value === null || value === undefined
    ? "–"
    : value.toLocaleString(undefined, { maximumFractionDigits: digits });

// An amount of money. A part of a unit has two digits that are not 0, so that it is not shown as 0.
const money = (value) =>
  value < 1
    ? value.toLocaleString(undefined, { maximumSignificantDigits: 2 })
    : number(value, 2);

const percent = (ratio, digits = 2) =>
  ratio === null || ratio === undefined ? "no data" : `${number(100 * ratio, digits)} %`;

const span = (seconds) => {
  for (const [unit, length] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= 2 * length) {
      return `${Math.floor(seconds / length)} ${unit}`;
    }
  }
  return `${number(seconds)} s`;
};

// Replaces the rows of a table. A cell is a text, or { text, kind } with a class.
const fill = (id, rows, empty) => {
  const body = byId(id);
  const columns = body.parentElement.tHead.rows[0].cells.length;
  const elements = rows.map((cells) => {
    const row = document.createElement("tr");
    for (const cell of cells) {
      const element = row.insertCell();
      const { text, kind } = typeof cell === "object" ? cell : { text: cell, kind: "" };
      element.textContent = text;
      element.className = kind;
    }
    return row;
  });
  if (elements.length === 0) {
    const row = document.createElement("tr");
    const cell = row.insertCell();
    cell.colSpan = columns;
    cell.className = "none";
    cell.textContent = empty;
    elements.push(row);
  }
  body.replaceChildren(...elements);
};

const figures = (pairs) => {
  const elements = pairs.map(([name, value]) => {
    const box = document.createElement("div");
    const [term, text] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    text.textContent = value;
    box.append(term, text);
    return box;
  });
  byId("figures").replaceChildren(...elements);
};

const draw = () => {
  const top = Math.max(1, ...samples.map(({ allowed, denied }) => Math.max(allowed, denied)));
  const line = (kind) => {
    const points = samples.map((sample, index) => {
      const x = 600 - ((samples.length - 1 - index) * 600) / (SAMPLES - 1);
      return `${x.toFixed(1)},${(118 - (sample[kind] * 114) / top).toFixed(1)}`;
    });
    const element = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    element.setAttribute("points", points.join(" "));
    element.setAttribute("class", kind);
    return element;
  };
  byId("chart").replaceChildren(line("allowed"), line("denied"));
  byId("top").textContent = number(top, 1);
};

// Requests per second since the last look. A fleet whose statistics began anew counts from zero.
const perSecond = (now, then, seconds) => Math.max(0, now - then) / seconds;

const showState = ({ status, store, breaker, configuration, figures: flushes }) => {
  const state = byId("state");
  state.className = `state ${status}`;
  const latency = store.latency_ms === null ? "" : `, ${number(store.latency_ms, 2)} ms`;
  state.textContent = `${status}; store ${store.name}: ${store.status}${latency}`;
  const troubles = [
    store.warning,
    store.error,
    breaker && breaker.state !== "closed" && `the circuit breaker is ${breaker.state}`,
    breaker && breaker.owed_buckets > 0 &&
      `buckets that are still to be charged: ${breaker.owed_buckets}`,
    configuration.last_reload_error &&
      `the last configuration was rejected: ${configuration.last_reload_error}`,
    flushes.error && `statistics: ${flushes.error}`,
  ].filter(Boolean);
  byId("trouble").textContent = troubles.join("; ");
  byId("trouble").hidden = troubles.length === 0;
};

const showLimits = (stats, overview) => {
  const now = performance.now() / 1000;
  const seconds = before === null ? 0 : now - before.at;
  const entries = Object.entries(stats.endpoint_stats);
  const rate = (name, count) => {
    const then = before && before.endpoints[name];
    if (!then || seconds <= 0) {
      return null;
    }
    return perSecond(count(stats.endpoint_stats[name]), count(then), seconds);
  };
  const allowed = (one) => one.total_requests - one.rejected_requests;
  const denied = (one) => one.rejected_requests;
  const rows = entries
    .sort(([, a], [, b]) => b.total_requests - a.total_requests)
    .map(([name, one]) => {
      const deniedNow = rate(name, denied);
      return [
        name,
        // An older replica has no text for it.
        one.rate || number(one.limit),
        number(one.active_clients),
        number(rate(name, allowed), 1),
        { text: number(deniedNow, 1), kind: deniedNow > 0 ? "bad" : "" },
        one.total_requests > 0 ? percent(one.rejected_requests / one.total_requests) : "no data",
      ];
    });
  fill("endpoints", rows, "no limits are configured");
  fill(
    "clients",
    stats.top_limited_clients.map((one) => [one.client, number(one.rejected_requests)]),
    "no client was denied",
  );
  if (seconds > 0) {
    samples.push({
      allowed: perSecond(allowed(stats), allowed(before.stats), seconds),
      denied: perSecond(denied(stats), denied(before.stats), seconds),
    });
    samples.splice(0, samples.length - SAMPLES);
    draw();
  }
  before = { at: now, endpoints: stats.endpoint_stats, stats };
  const last = samples.at(-1);
  figures([
    ["allowed per second", last ? number(last.allowed, 1) : "–"],
    ["denied per second", last ? number(last.denied, 1) : "–"],
    ["clients, last hour", number(stats.total_clients)],
    ["denied clients, last hour", number(stats.rate_limited_clients)],
    ["replicas", number(overview.fleet.replicas)],
    ["mean latency of the API", `${number(overview.requests.avg_latency_ms, 2)} ms`],
    ["failed requests of the API", percent(overview.requests.error_rate)],
    ["open connections", number(overview.active_connections.http
      + overview.active_connections.websocket + overview.active_connections.grpc)],
  ]);
};

const showFleet = (replicas) => {
  const rows = replicas.map((one) => [
    one.this ? `${one.id} (this one)` : one.id,
    one.version,
    span(one.age_seconds),
    one.seen_seconds_ago < 2 ? "now" : `${span(one.seen_seconds_ago)} ago`,
    one.connections === null
      ? "–"
      : number(one.connections.http + one.connections.websocket + one.connections.grpc),
  ]);
  fill("replicas", rows, "no replica is known");
};

const showDenials = (page) => {
  byId("denials-part").hidden = page === null;
  if (page !== null) {
    const rows = page.denials.slice(0, SHOWN_DENIALS).map((one) => [
      new Date(one.at_ms).toLocaleTimeString(),
      one.client === null ? "–" : one.client,
      one.endpoint,
      one.limit,
      one.retry_after === null ? "never" : span(one.retry_after),
    ]);
    fill("denials", rows, "no request was denied since this replica started");
  }
};

const showSlos = (page) => {
  const slos = page === null ? [] : page.slos;
  byId("slos-part").hidden = slos.length === 0;
  const rows = slos.map((slo) => {
    const left = slo.error_budget.left;
    return [
      slo.name,
      slo.endpoint,
      slo.latency_ms === null
        ? `${slo.objective} % without errors`
        : `${slo.objective} % within ${slo.latency_ms} ms`,
      `${slo.window_days} d`,
      percent(slo.good_ratio, 4),
      number(slo.requests),
      { text: percent(left, 1), kind: left !== null && left <= 0 ? "bad" : "" },
    ];
  });
  fill("slos", rows, "");
};

const showCosts = (summary) => {
  const totals = (summary && summary.costs && summary.costs.totals) || [];
  byId("costs-part").hidden = totals.length === 0;
  const rows = totals.map((one) => [
    one.currency,
    money(one.today),
    money(one.month_to_date),
    money(one.month_forecast),
  ]);
  fill("costs", rows, "");
};

// The health and the denials are those of this replica, and are there while the store is away. What
// the store knows of the fleet is then missing, and the page says so.
const refresh = async () => {
  const [health, denials, overview, stats, summary, slos] = await Promise.all([
    required("/monitoring/health/detailed"),
    optional("/monitoring/denials"),
    optional("/monitoring/stats/overview"),
    optional("/monitoring/rate-limit/stats"),
    optional("/monitoring/metrics/summary"),
    optional("/monitoring/slo"),
  ]);
  const own = health.replicas.find((one) => one.this);
  byId("version").textContent = own ? `${own.version} on ${own.id}` : "";
  showState(health);
  showFleet(health.replicas);
  showDenials(denials);
  if (overview !== null && stats !== null) {
    showLimits(stats, overview);
  }
  showSlos(slos);
  showCosts(summary);
  byId("stale").hidden = overview !== null && stats !== null;
  document.querySelector("main").hidden = false;
};

const run = async () => {
  if (document.visibilityState === "visible") {
    try {
      await refresh();
    } catch (error) {
      byId("state").className = "state lost";
      byId("state").textContent = `This page could not be refreshed: ${error.message}`;
    }
  }
  setTimeout(run, INTERVAL_MS);
};

run();
