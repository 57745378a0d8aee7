"use strict";

// All that comes from the bridge, and so from devices, becomes text by textContent and nothing else.

const EVERY_MS = 1000;
const HIDDEN_EVERY_MS = 10000; // Still asked, since the title of the tab tells the state.
const TIMEOUT_MS = 5000;
const DEVICES_EVERY = 5; // Polls: the bridge looks through all devices for those that are silent.
const POINTS = 120;
const POINTS_MIN = 30; // So that the first few are no speck at the edge.
const MINUTE = 60;
const CLOCK_WRONG_S = 1;
const HIGH = 0.7;
const FULL = 0.9;

const PARTS = { mqtt: "MQTT broker", kafka: "Kafka", spool: "Spool", process: "Process" };
const WORDS = {
  subscribed: "subscribed", subscribing: "subscribing", mqtt_away: "away", mqtt_refuses: "refuses",
  answers: "answers", kafka_away: "away", kafka_refuses: "refuses",
  off: "off", empty: "empty", holds: "holds records", spool_full: "full", spool_failed: "fails",
  stopping: "stopping",
};
const HEADLINES = {
  mqtt_away: "the MQTT broker is away", mqtt_refuses: "the MQTT broker refuses",
  subscribing: "subscribing at the MQTT broker",
  kafka_away: "Kafka is away", kafka_refuses: "Kafka refuses",
  spool_full: "the spool is full", spool_failed: "the spool fails", stopping: "stopping",
};
const ACTIONS = {
  mqtt_away: "Look at the MQTT broker and the way to it; the bridge reconnects by itself.",
  subscribing: "Wait; while reading is paused, look at what Kafka and the spool say below.",
  mqtt_refuses: "Mend what the MQTT broker names below; the bridge tries again by itself.",
  kafka_away: "Look at Kafka and the way to it; nothing has to be done to the bridge.",
  kafka_refuses: "Mend the Kafka topic named below; the bridge goes on by itself.",
  spool_full: "Bring Kafka back, or raise spool.bytes_max, free room for it, and restart.",
  spool_failed: "Look at the file system of spool.directory: room, rights, errors.",
  stopping: "",
};
const TERMS = {
  received: "received", spooled_at_start: "+ in the spool at start", produced: "= produced",
  dead_lettered: "+ dead letters", duplicates: "+ duplicates", dropped: "+ dropped by policy",
  spooled: "+ in the spool", in_flight: "+ in flight",
};

const byId = (id) => document.getElementById(id);
const total = (counts) => Object.values(counts).reduce((sum, each) => sum + each, 0);

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tell(id, text) {
  write(byId(id), text);
}

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

// What is there stays there and gets new text: an error that a person is copying must not vanish.
function keep(box, number, makeOne) {
  while (box.children.length < number) box.append(makeOne());
  while (box.children.length > number) box.lastElementChild.remove();
  return [...box.children];
}

// ------------------------------------------------------------------ how numbers are written

const whole = new Intl.NumberFormat("en");
const count = (number) => whole.format(number);

function rate(perSecond) {
  if (perSecond > 0 && perSecond < 10) return perSecond.toFixed(1);
  return count(Math.round(perSecond));
}

function duration(seconds) {
  if (seconds < 0.0995) return `${(seconds * 1000).toFixed(seconds < 0.00995 ? 1 : 0)} ms`;
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = number;
  while (value >= 1024 && unit < units.length - 1) { value /= 1024; unit += 1; }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

const optional = (value, format) => (value === null || value === undefined ? "–" : format(value));

// ------------------------------------------------------------------ what is remembered

const seen = {
  received: [], settled: [], // Rates, for the lines.
  minute: [], // The last statuses, for what grew.
  last: null, // The last status, and when it came.
  at: 0,
  polls: 0,
};

function remember(status, now) {
  const restarted = seen.last !== null && status.uptime_s < seen.last.uptime_s;
  if (restarted) { seen.received = []; seen.settled = []; seen.minute = []; }
  const push = (list, value, most) => { list.push(value); if (list.length > most) list.shift(); };
  push(seen.received, status.received_per_s.now, POINTS);
  push(seen.settled, status.settled_per_s.now, POINTS);
  push(seen.minute, { status, now }, MINUTE + 1);
  seen.last = status;
  seen.at = now;
}

function perSecond(value) {
  const [before, after] = [seen.minute.at(-6) || seen.minute[0], seen.minute.at(-1)];
  const span = (after.now - before.now) / 1000;
  return span > 0 ? (value(after.status) - value(before.status)) / span : 0;
}

// ------------------------------------------------------------------ the verdict

function fate(status, states) {
  // What becomes of a message now.
  const says = [];
  if (states.includes("stopping")) says.push("Nothing more is read; what is held goes to Kafka or to disk.");
  if (states.includes("mqtt_away") || states.includes("mqtt_refuses")) {
    says.push("Nothing is received: the MQTT broker holds what devices send, as long as its queue lasts.");
  }
  if (states.includes("spool_full")) {
    says.push("Nothing more is acknowledged for want of room: the MQTT broker holds what comes, then drops it.");
  } else if (states.includes("spool_failed")) {
    says.push("The disk takes nothing, so what Kafka lacks stays unacknowledged, and the MQTT broker holds it.");
  } else if (states.includes("kafka_away") || states.includes("kafka_refuses")) {
    if (status.spool.state === "off") {
      says.push("There is no spool: nothing is acknowledged, and the MQTT broker holds what comes.");
    } else {
      says.push("What Kafka does not take is acknowledged from the disk, and goes to Kafka in order later: nothing is lost.");
    }
  }
  const budget = status.outage_budget;
  if (budget.state === "limited" && !states.includes("stopping")) {
    says.push(`At the present inflow there is room for ${duration(budget.seconds)}.`);
  }
  return says.join(" ");
}

function judge(status) {
  const checks = Object.values(status.checks).filter((each) => !each.ok);
  if (checks.length > 0) {
    const failing = checks.map((each) => each.state);
    const since = Math.max(...checks.map((each) => each.since_s || 0));
    return {
      tone: "bad",
      word: `Not ready: ${failing.map((each) => HEADLINES[each] || each).join(", ")}`,
      text: `For ${duration(since)} now. ${fate(status, failing)}`,
      action: failing.map((each) => ACTIONS[each] || "").join(" ").trim(),
    };
  }
  if (status.spool.rows > 0) {
    return {
      tone: "warn", word: "Ready, and draining the spool", action: "",
      text: `${count(status.spool.rows)} records wait on disk for Kafka; they are acknowledged, and go in order.`,
    };
  }
  const flows = status.received_per_s.now > 0;
  return {
    tone: "good", word: "Ready", action: "",
    text: flows ? "Messages flow to Kafka." : "Subscribed, and Kafka answers; no messages come at the moment.",
  };
}

function notesOn(status) {
  const notes = [];
  if (status.conservation.residue !== 0) {
    notes.push(`Conservation is broken by ${count(status.conservation.residue)}: a bug of the bridge. Keep the log and report it.`);
  }
  if (status.window_used_ratio >= FULL) notes.push("The window is full: reading pauses, the MQTT broker holds the rest.");
  if (status.shedding.level > 0) {
    notes.push(`Kafka takes less than comes: priority ${status.shedding.level > 1 ? "low and medium are" : "low is"} shed.`);
  }
  if (status.fleet.is_fleet_silent) notes.push("The fleet is silent: many devices at once.");
  const clock = status.fleet.host_clock;
  if (clock.state === "doubted") notes.push(`The clock of this host is doubted: ${clock.cause}.`);
  const { reload } = status;
  if (reload !== null && reload.outcome === "refused") {
    notes.push(`The configuration was refused at ${reload.at}, the one before it runs on: ${reload.problems.join("; ")}.`);
  } else if (reload !== null && reload.needs_restart.length > 0) {
    notes.push(`The configuration has values that want a restart: ${reload.needs_restart.join(", ")}.`);
  }
  const gaps = Object.entries(status.gaps).filter(([, number]) => number > 0);
  if (gaps.length > 0) {
    notes.push(`Messages may be missing before the bridge: ${gaps.map(([cause, number]) => `${cause} ${count(number)}`).join(", ")}.`);
  }
  return notes;
}

function showVerdict(verdict) {
  document.body.dataset.tone = verdict.tone;
  tell("verdict-word", verdict.word);
  tell("verdict-text", verdict.text);
  tell("verdict-do", verdict.action);
}

// ------------------------------------------------------------------ the parts of the page

function makePart() {
  const card = make("article");
  card.append(make("h2"), make("p", "state"), make("p", "sub"));
  return card;
}

function showParts(checks) {
  const parts = Object.entries(checks);
  keep(byId("parts"), parts.length, makePart).forEach((card, at) => {
    const [part, check] = parts[at];
    const [title, state, sub] = card.children;
    card.className = check.ok ? "part" : "part not-ok";
    card.dataset.part = part;
    write(title, PARTS[part] || part);
    write(state, `${check.ok ? "✓" : "✕"} ${WORDS[check.state] || check.state}`);
    const since = check.since_s === null ? "" : `for ${duration(check.since_s)}`;
    const detail = part === "spool" && check.ok ? "" : check.detail; // Its numbers have a tile.
    if (sub.children.length === 0) sub.append(make("span"), make("span"));
    write(sub.firstElementChild, since && detail ? `${since} – ` : since);
    write(sub.lastElementChild, detail);
  });
}

function drawLine(id, values) {
  const highest = Math.max(1, ...values);
  const width = Math.max(POINTS_MIN, values.length);
  const place = (at) => ((width - values.length + at) * POINTS) / (width - 1);
  const points = values.map((value, at) => `${place(at).toFixed(1)},${(29 - (value / highest) * 27).toFixed(1)}`);
  byId(id).firstElementChild.setAttribute("points", points.join(" "));
}

function fill(id, ratio) {
  const bar = byId(id);
  bar.style.width = `${Math.min(100, ratio * 100)}%`;
  bar.className = ratio >= FULL ? "full" : ratio >= HIGH ? "high" : "";
}

function showTiles(status) {
  for (const name of ["received", "settled"]) {
    tell(`${name}-now`, rate(status[`${name}_per_s`].now));
    tell(`${name}-minute`, rate(status[`${name}_per_s`].last_minute));
    drawLine(`${name}-line`, seen[name]);
  }
  for (const name of ["p50", "p95", "p99"]) tell(`latency-${name}`, optional(status.latency[`${name}_s`], duration));
  tell("window", String(Math.round(status.window_used_ratio * 100)));
  fill("window-bar", status.window_used_ratio);
  tell("in-flight", count(status.conservation.in_flight));
  tell("oldest", status.oldest_unsettled_s > 0 ? duration(status.oldest_unsettled_s) : "–");
  const spool = status.spool;
  tell("spool-rows", count(spool.rows));
  fill("spool-bar", spool.bytes_max > 0 ? spool.bytes / spool.bytes_max : 0);
  tell("spool-bytes", spool.bytes_max > 0 ? `${bytes(spool.bytes)} of ${bytes(spool.bytes_max)}` : "off");
  tell("spool-in", rate(perSecond((each) => each.spool.rows_written)));
  tell("spool-out", rate(perSecond((each) => each.spool.rows_drained)));
  showBudget(status.outage_budget);
}

function showBudget(budget) {
  const isLimited = budget.state === "limited";
  tell("budget", isLimited ? duration(budget.seconds) : budget.state === "no_inflow" ? "no limit" : "unknown");
  byId("budget").className = isLimited ? "big" : "big words";
  let text = isLimited ? `at ${rate(budget.inflow_per_s)}/s` : budget.state === "no_inflow" ? "nothing comes" : "";
  if (budget.is_unknown_after) text += `${text ? "; " : ""}without the MQTT broker's queue, since mqtt.broker_queue_* is not set`;
  tell("budget-text", text);
}

// ------------------------------------------------------------------ dead letters

const letters = new Map(); // By reason, so that what a person opened stays open.

function letterRow(reason) {
  let row = letters.get(reason);
  if (row === undefined) {
    const element = make("details", "letter bare");
    element.dataset.reason = reason;
    const summary = make("summary");
    const [number, grown] = [make("span"), make("span")];
    summary.append(make("span", "reason", reason), number, grown);
    const examples = make("div");
    element.append(summary, examples);
    summary.addEventListener("click", (event) => { if (!row.shown) event.preventDefault(); });
    row = { element, number, grown, examples, shown: "" };
    letters.set(reason, row);
  }
  return row;
}

function showLetters(status) {
  const first = seen.minute[0].status.dead_letters;
  const isMinute = seen.minute.length > MINUTE;
  const found = Object.entries(status.dead_letters).filter(([, number]) => number > 0);
  const examples = status.dead_letter_examples;
  if (examples !== null) {
    // Copies of flagged messages are no dead letters by count, but examples all the same.
    for (const reason of Object.keys(examples)) if (!found.some(([each]) => each === reason)) found.push([reason, 0]);
  }
  found.sort((one, other) => other[1] - one[1] || (one[0] < other[0] ? -1 : 1));
  const rows = found.map(([reason, number]) => {
    const row = letterRow(reason);
    const grown = number - (first[reason] || 0);
    write(row.number, number > 0 ? count(number) : "copies only");
    write(row.grown, grown > 0 ? `+${count(grown)}` : "");
    row.grown.className = grown > 0 ? "grows" : "";
    showExamples(row, examples === null ? [] : examples[reason] || []);
    return row.element;
  });
  const box = byId("letters");
  if (rows.length !== box.children.length || rows.some((row, at) => row !== box.children[at])) box.replaceChildren(...rows);
  const all = total(status.dead_letters);
  tell("letters-gloss", all > 0 ? `${count(all)} of ${count(status.conservation.received)} messages since the start` : "");
  tell("letters-span", isMinute ? "last minute" : "since opened");
  byId("letters-head").hidden = rows.length === 0;
  const off = "Examples are off: ops.examples = true shows the last of each reason, with the head of their payload.";
  tell("letters-none", rows.length === 0 ? "None." : examples === null ? off : "");
}

function showExamples(row, examples) {
  const shown = examples.map((each) => each.dlq_id).join();
  if (shown === row.shown) return;
  row.shown = shown;
  row.element.className = shown ? "letter" : "letter bare";
  row.examples.replaceChildren(...examples.map((each) => {
    const box = make("div", "example");
    box.append(make("p", "", each.detail));
    box.append(make("p", "sub", `${each.mqtt_topic} – ${each.received_at} – ${each.dlq_id}${each.is_copy ? " – a copy, also forwarded" : ""}`));
    box.append(make("pre", "", each.payload_bytes === 0 ? "(empty)" : each.payload));
    if (each.is_cut) box.append(make("p", "sub", `the head of ${count(each.payload_bytes)} bytes`));
    return box;
  }));
}

// ------------------------------------------------------------------ devices

function makeDevice() {
  const row = make("li");
  row.append(make("span", "id"), make("span", "what"));
  return row;
}

function showDevices(id, devices, what) {
  keep(byId(id), Math.max(1, devices.length), makeDevice).forEach((row, at) => {
    const device = devices[at];
    row.className = device === undefined ? "nobody" : "";
    write(row.firstElementChild, device === undefined ? "nobody" : device.device_id);
    write(row.lastElementChild, device === undefined ? "" : what(device));
  });
}

function showTop(top) {
  const clock = (seconds) => `${duration(Math.abs(seconds))} ${seconds > 0 ? "behind" : "ahead"}`;
  showDevices("top-errors", top.errors || [], (each) => `${rate(each.errors_per_s)} errors/s`);
  showDevices("top-rate", top.rate || [], (each) => `${rate(each.messages_per_s)}/s`);
  const wrong = (top.drift || []).filter((each) => Math.abs(each.clock_offset_s) >= CLOCK_WRONG_S);
  showDevices("top-drift", wrong, (each) => optional(each.clock_offset_s, clock));
}

async function showSilent(fleet) {
  const counts = fleet.devices;
  const gone = (counts.silent || 0) + (counts.grouped || 0) + (counts.offline || 0);
  const said = ["live", "quiet", "silent", "grouped", "offline"].filter((each) => counts[each] > 0);
  tell("silent-gloss", said.map((each) => `${count(counts[each])} ${each}`).join(", "));
  const none = fleet.silence === "off" ? "Not judged: silence is off, or judged by watch."
    : fleet.silence === "deaf" ? "Not judged at the moment: the bridge could not hear them, so nobody is silent." : "None.";
  tell("silent-none", gone === 0 || fleet.silence === "deaf" ? none : "");
  if (gone === 0) { byId("silent").replaceChildren(); return; }
  if (seen.polls % DEVICES_EVERY !== 1 && byId("silent").children.length > 0) return;
  const answer = await ask("status/devices?sort=silence&count=24");
  if (answer.status !== 200) return;
  const { devices } = await answer.json();
  showDevices("silent", devices, (each) => `${each.standing === "offline" ? "offline" : "silent"}, heard ${duration(each.silent_s)} ago`);
}

function makeTerm() {
  const term = make("div");
  term.append(make("dt"), make("dd"));
  return term;
}

function showTerms(conservation) {
  const terms = Object.entries(TERMS);
  keep(byId("terms"), terms.length, makeTerm).forEach((term, at) => {
    const [name, label] = terms[at];
    write(term.firstElementChild, label);
    write(term.lastElementChild, count(conservation[name]));
  });
  tell("residue", conservation.residue === 0 ? "all accounted for" : `${count(conservation.residue)} not accounted for`);
  byId("residue").className = conservation.residue === 0 ? "gloss" : "wrong";
}

// ------------------------------------------------------------------ asking

function ask(path) {
  const stop = new AbortController();
  setTimeout(() => stop.abort(), TIMEOUT_MS);
  // From the origin, which holds no credentials: with some in the address a relative one is refused.
  const url = new URL(path, location.origin + location.pathname);
  return fetch(url, { cache: "no-store", signal: stop.signal });
}

async function show(status) {
  document.body.dataset.link = "ok";
  const verdict = judge(status);
  showVerdict(verdict);
  document.title = `${verdict.tone === "good" ? "" : verdict.tone === "bad" ? "✕ " : "! "}${status.client_id} – ${verdict.word}`;
  tell("client-id", status.client_id);
  tell("about", `mqtt-kafka-bridge ${status.version}, up ${duration(status.uptime_s)}, ${count(status.active_devices)} active devices`);
  tell("fresh", "● live");
  const notes = notesOn(status);
  keep(byId("notes"), notes.length, () => make("li")).forEach((row, at) => write(row, notes[at]));
  showParts(status.checks);
  showTiles(status);
  showLetters(status);
  showTop(status.top_devices);
  showTerms(status.conservation);
  await showSilent(status.fleet);
}

function showLost(reason) {
  document.body.dataset.link = "lost";
  const ago = seen.last === null ? "It has not answered since this page was opened." : `The last answer came ${duration((performance.now() - seen.at) / 1000)} ago; what stands below is from then.`;
  showVerdict({
    tone: "bad", word: "The bridge does not answer", text: `${reason} ${ago}`,
    action: "See whether the process runs (systemctl status, its log), and the way to this port.",
  });
  document.title = "✕ no answer – mqtt-kafka-bridge";
  tell("fresh", "○ not live");
}

async function poll() {
  seen.polls += 1;
  let answer;
  try {
    answer = await ask("status");
  } catch {
    showLost("No connection, or no answer in time.");
    return;
  }
  if (answer.status !== 200) {
    showLost(`It refused with ${answer.status}: ${(await answer.text()).trim()}.`);
    return;
  }
  const status = await answer.json();
  remember(status, performance.now());
  await show(status);
}

let timer = 0;

async function go() {
  clearTimeout(timer);
  try {
    await poll();
  } catch (error) {
    console.error(error);
    showLost(`This page could not read the answer: ${error}.`);
  }
  clearTimeout(timer);
  timer = setTimeout(go, document.hidden ? HIDDEN_EVERY_MS : EVERY_MS);
}

document.addEventListener("visibilitychange", () => { if (!document.hidden) go(); });
go();
