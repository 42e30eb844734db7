// SPDX-License-Identifier: Apache-2.0 OR MIT
// The daemon's web page: what it has, as it changes.
//
// Names, labels and output come from anybody, so nothing of them is ever parsed as HTML:
// elements are made by `make`, whose text becomes text nodes.

import { Failure, TOKEN, at, listen, onUnauthorized, pause, read, request } from "./daemon.js";
import { WINDOWS, ago, bytes, chart, find, make, percent, pill, plain, portLinks, short, when } from "./parts.js";

const LOG_LIMIT = 400_000;
const state = {
  info: null, role: "read", instances: null, images: null, volumes: null, events: [],
  use: new Map(), busy: new Set(), lastEvent: null,
};
let view = null;
const mayChange = () => state.role !== "read";

async function refresh() {
  try {
    const [info, instances, images, volumes] = await Promise.all([
      read("/info"), read("/instances?all=true"), read("/images"), read("/volumes"),
    ]);
    Object.assign(state, { info, instances, images, volumes, role: info.role });
    linked("live", "live");
  } catch (error) {
    linked("lost", error.code === "unauthorized" ? "signed out" : "not connected");
    if (error.code !== "unauthorized") state.problem = error;
    show();
    return false;
  }
  state.problem = null;
  show();
  return true;
}

let planned = null;
function soon(ms = 120) {
  planned ??= setTimeout(() => { planned = null; refresh(); }, ms);
}

async function followEvents() {
  for (let wait = 500; ; wait = Math.min(wait * 2, 8000)) {
    // With no number yet, from what is there now: what came before is not news.
    if (await refresh()) {
      try {
        const since = state.lastEvent === null ? "" : `?since=${state.lastEvent}`;
        await listen(`/events${since}`, undefined, (event) => {
          wait = 500;
          state.lastEvent = event.id;
          state.events.unshift(event);
          state.events.length = Math.min(state.events.length, 200);
          if (event.subject === "instance") view?.changed?.(event);
          if (["die", "error", "health"].includes(event.action)) announce(`${event.name}: ${event.action}`);
          soon();
        }, () => soon());
      } catch (error) {
        if (error.code !== "unauthorized") linked("lost", "connection lost");
      }
    }
    await pause(wait);
  }
}

/** CPU and memory in the list, one request after the other: browsers open few connections. */
async function followUse() {
  for (;;) {
    const running = (state.instances ?? []).filter((i) => i.state === "running");
    if (view?.kind === "instances" && !document.hidden) {
      for (const instance of running) {
        try {
          state.use.set(instance.id, await read(at("instances", instance.id, "/stats")));
        } catch {
          state.use.delete(instance.id);
        }
      }
      show();
    }
    await pause(3000);
  }
}

function linked(kind, text) {
  find("link").className = `link ${kind}`;
  if (find("link-text").textContent !== text) find("link-text").textContent = text;
}

// ---- Telling people ------------------------------------------------------------------------

const announce = (text) => { find("announce").textContent = text; };

function notice(error) {
  if (error.name === "AbortError" || error.code === "unauthorized") return;
  const box = make("div", { class: "notice" },
    make("strong", {}, error.message),
    error.advice && make("p", { class: "hint" }, error.advice),
    make("button", { type: "button", class: "quiet", "aria-label": "Close", onclick: () => box.remove() }, "×"));
  find("notices").append(box);
  setTimeout(() => box.remove(), 20_000);
}

function askForToken(problem = "") {
  find("token-error").textContent = problem;
  if (!find("token-dialog").open) find("token-dialog").showModal();
}

function confirm(title, text, action) {
  find("confirm-title").textContent = title;
  find("confirm-text").textContent = text;
  find("confirm-yes").textContent = action;
  const dialog = find("confirm-dialog");
  dialog.returnValue = "";
  dialog.showModal();
  find("confirm-no").focus();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true });
  });
}

/** Does something to a thing, with its buttons off until it is done. */
async function act(key, work, done) {
  if (state.busy.has(key)) return;
  state.busy.add(key);
  show();
  try {
    await work();
    if (done) announce(done);
  } catch (error) {
    notice(error);
  } finally {
    state.busy.delete(key);
    await refresh();
  }
}

// ---- Instances -----------------------------------------------------------------------------

/** The name it was asked for by; an id is too long to read. */
const imageName = ({ image }) => (/^[0-9a-f]{64}$/.test(image) ? short(image) : image);
const ALIVE = ["running", "paused", "starting", "restarting"];

function instanceButtons(instance, all) {
  if (!mayChange()) return [];
  const { id, name } = instance;
  const off = state.busy.has(id) || ["creating", "deleting"].includes(instance.state);
  const alive = ALIVE.includes(instance.state);
  const post = (verb, done) => act(id, () => request("POST", at("instances", id, `/${verb}`)), `${name} ${done}`);
  const button = (text, onclick, kind = "") =>
    make("button", { type: "button", class: kind, disabled: off, onclick, "aria-label": `${text} ${name}` }, text);
  const stop = async () => {
    const text = "Its program is asked to end, and is ended when it does not.";
    if (await confirm(`Stop ${name}?`, text, "Stop")) post("stop", "stopped");
  };
  const kill = async () => {
    const text = "It ends at once. What it has not written to a volume is lost.";
    if (await confirm(`Kill ${name}?`, text, "Kill")) post("kill", "killed");
  };
  const remove = async () => {
    const text = alive ? "It runs; it is ended and removed with its log." : "It is removed with its log. Volumes stay.";
    if (!(await confirm(`Delete ${name}?`, text, "Delete"))) return;
    await act(id, () => request("DELETE", at("instances", id, alive ? "?force=true" : "")), `${name} deleted`);
  };
  const buttons = [];
  if (alive) {
    buttons.push(button("Stop", stop));
    if (all) {
      buttons.push(button("Restart", () => post("restart", "restarted")));
      const held = instance.state === "paused";
      if (held || (instance.state === "running" && canPause(instance))) {
        buttons.push(button(held ? "Resume" : "Pause", () => post(held ? "resume" : "pause", held ? "resumed" : "paused")));
      }
      buttons.push(button("Kill", kill, "harm"));
    }
  } else if (instance.state !== "stopping") {
    buttons.push(button("Start", () => post("start", "started"), "primary"));
  } else {
    buttons.push(button("Kill", kill, "harm"));
  }
  if (all || !alive) buttons.push(button("Delete", remove, "harm"));
  return buttons;
}

let providers = [];
const canPause = (instance) =>
  providers.some((p) => p.name === instance.provider && p.capabilities.includes("pause"));

function table(headings, rows) {
  return make("div", { class: "card" }, make("table", {},
    make("thead", {}, make("tr", {}, headings.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, rows)));
}

const heading = (title, ...rest) => make("div", { class: "head" }, make("h1", {}, title), ...rest);
const empty = (title, text, command) => make("div", { class: "card empty" },
  make("h2", {}, title), make("p", {}, text), make("pre", { class: "command" }, command));

function instancesPage() {
  const run = mayChange() && state.images.length > 0
    && make("button", { type: "button", class: "primary", id: "run", onclick: () => openRun() }, "Run an image");
  const rows = state.instances.map((instance) => {
    const use = instance.state === "running" && state.use.get(instance.id);
    return make("tr", { "data-key": instance.id },
      make("td", {}, make("a", { class: "name", href: `#/instances/${encodeURIComponent(instance.id)}` }, instance.name),
        make("span", { class: "sub" }, imageName(instance))),
      make("td", { class: "state tight" }, pill(instance)),
      make("td", { class: "wide", "data-label": "Ports" }, portLinks(instance)),
      make("td", { "data-label": "CPU" }, use ? make("span", { class: "meter" }, percent(use.cpu)) : ""),
      make("td", { "data-label": "Memory" }, use ? make("span", { class: "meter" }, bytes(use.memory_bytes)) : ""),
      make("td", { class: "wide", "data-label": instance.state === "running" ? "Started" : "Made" }, when((instance.state === "running" && instance.started) || instance.created)),
      make("td", { class: "buttons" }, make("div", { class: "actions" }, instanceButtons(instance, false))));
  });
  const nothing = state.images.length
    ? empty("No instances yet", "Run one of your images here, or in a terminal:", `kernctl run -d -p 8080:8080 ${state.images[0].names[0] ?? short(state.images[0].id)}`)
    : empty("Nothing here yet", "Build an image from a directory with a program, then run it:", "kernctl build -t web . && kernctl run -d -p 8080:8080 web");
  return [heading("Instances", run),
    rows.length ? table(["Name", "State", "Ports", "CPU", "Memory", "Since", ""], rows) : nothing];
}

// ---- One instance --------------------------------------------------------------------------

function instanceView(id) {
  const stop = new AbortController();
  const cpu = chart("cpu", "CPU");
  const memory = chart("memory", "Memory");
  const head = make("div", { class: "head" });
  const facts = make("dl", { class: "card facts" });
  const trouble = make("div", {});
  const follow = make("input", { type: "checkbox", checked: true, onchange: () => scroll() });
  const output = make("pre", { tabIndex: 0, role: "log", "aria-label": "Output", "aria-live": "off" });
  const logState = make("span", { class: "hint", role: "status" });
  const logs = make("section", { class: "card logs", "aria-label": "Logs" },
    make("header", {}, make("h2", {}, "Logs"), logState, make("label", {}, follow, "follow")), output);
  const charts = make("div", { class: "charts" }, cpu.box, memory.box);
  const samples = [];
  let offset = null;
  let woken = () => {};
  let drawn = "";

  const instance = () => state.instances?.find((i) => i.id === id || i.name === id);
  const scroll = () => { if (follow.checked) output.scrollTop = output.scrollHeight; };
  const sleep = (ms) => Promise.race([pause(ms, stop.signal), new Promise((done) => { woken = done; })]);

  function print(chunk) {
    let text = chunk.text ?? "";
    let size = new TextEncoder().encode(text).length;
    if (chunk.base64) {
      const raw = Uint8Array.from(atob(chunk.base64), (c) => c.charCodeAt(0));
      text = new TextDecoder().decode(raw);
      size = raw.length;
    }
    offset = chunk.offset + size;
    output.append(plain(text));
    if (output.childNodes.length > 400) output.normalize();
    const all = output.textContent;
    if (all.length > LOG_LIMIT) output.textContent = all.slice(-LOG_LIMIT / 2);
    scroll();
  }

  async function followLogs() {
    while (!stop.signal.aborted) {
      try {
        logState.textContent = "live";
        const from = offset === null ? "tail=1000" : `offset=${offset}`;
        await listen(at("instances", id, `/logs?follow=true&${from}`), stop.signal, print);
        logState.textContent = "";
      } catch (error) {
        if (stop.signal.aborted) return;
        logState.textContent = error.message;
      }
      // The log ends with the instance and goes on when it is started again.
      await sleep(ALIVE.includes(instance()?.state) ? 500 : 3000);
    }
  }

  function sample(stats) {
    const time = Date.parse(stats.time);
    if (samples.length && time <= samples.at(-1).time) return;
    samples.push({ time, cpu: stats.cpu, memory: stats.memory_bytes });
    while (samples[0].time < time - WINDOWS.at(-1) * 1000) samples.shift();
    const cores = instance()?.cpus || 1;
    const most = (kind) => Math.max(...samples.map((s) => s[kind]));
    const points = (kind) => samples.map((s) => ({ time: s.time, value: s[kind] }));
    const part = [0.1, 0.25, 0.5, 1].find((p) => most("cpu") <= p * cores);
    cpu.draw(points("cpu"), part ? part * cores : most("cpu"), percent);
    memory.draw(points("memory"), Math.max(stats.memory_limit_bytes, most("memory")), bytes);
  }

  async function followStats() {
    try {
      for (const stats of await read(at("instances", id, "/stats/history"))) sample(stats);
    } catch {
      // A daemon without a history begins now.
    }
    while (!stop.signal.aborted) {
      if (instance()?.state === "running") {
        try {
          await listen(at("instances", id, "/stats?stream=true"), stop.signal, sample);
        } catch {
          // It ended between two looks.
        }
      }
      await pause(1500, stop.signal);
    }
  }

  const fact = (name, ...value) => make("div", {}, make("dt", {}, name), make("dd", {}, ...value));
  function update() {
    const it = instance();
    if (!it) {
      const text = state.instances ? "It is not there any more." : "";
      head.replaceChildren(make("h1", {}, short(id)), make("p", {}, text));
      facts.hidden = true;
      return;
    }
    const look = JSON.stringify([it, state.busy.has(it.id), state.role, providers.length, ago(it.created)]);
    if (look === drawn) return;
    drawn = look;
    document.title = `${it.name} – Bhojpur Kernel`;
    facts.hidden = false;
    head.replaceChildren(make("h1", {}, it.name), pill(it), make("div", { class: "actions" }, instanceButtons(it, true)));
    trouble.replaceChildren(it.error ? make("p", { class: "card banner" }, it.error) : "");
    const mounts = it.volumes.map((v) => `${v.volume} on ${v.mount_point}${v.read_only ? " (read-only)" : ""}`);
    const labels = Object.entries(it.labels).map(([key, value]) => (value ? `${key}=${value}` : key));
    facts.replaceChildren(...[
      fact("Image", imageName(it)),
      fact("Id", make("span", { class: "id" }, short(it.id))),
      fact("Provider", it.provider),
      fact("Size", `${it.memory_mib} MiB, ${it.cpus} CPU${it.cpus > 1 ? "s" : ""}`),
      it.ports.length && fact("Ports", ...portLinks(it)),
      it.address && fact("Address", it.address),
      fact("Made", when(it.created)),
      it.started && fact("Started", when(it.started)),
      it.ended && fact("Ended", when(it.ended)),
      fact("Restart", { no: "never", "on-failure": "when it fails", always: "always" }[it.restart.name] ?? it.restart.name, it.restarts ? `, ${it.restarts} so far` : ""),
      it.args && fact("Arguments", make("span", { class: "mono" }, it.args.join(" "))),
      it.env_names.length && fact("Environment", make("span", { class: "mono" }, it.env_names.join(", "))),
      mounts.length && fact("Volumes", mounts.join(", ")),
      labels.length && fact("Labels", labels.join(", ")),
    ].filter(Boolean));
  }

  followLogs();
  followStats();
  return {
    kind: "instance",
    nodes: [make("p", {}, make("a", { href: "#/instances" }, "← Instances")), head, trouble, facts, charts, logs],
    update,
    changed: (event) => { if (event.subject_id === id && ["start", "restart", "resume"].includes(event.action)) woken(); },
    close: () => stop.abort(),
  };
}

// ---- Images, volumes, events ---------------------------------------------------------------

function imagesPage() {
  const rows = state.images.map((image) => {
    const name = image.names[0] ?? short(image.id);
    const remove = async () => {
      if (!(await confirm(`Delete ${name}?`, "Instances that were made from it keep running only if there are none: the daemon refuses while it is used.", "Delete"))) return;
      await act(image.id, () => request("DELETE", at("images", image.id)), `${name} deleted`);
    };
    const off = state.busy.has(image.id);
    return make("tr", { "data-key": image.id },
      make("td", {}, make("span", { class: "name" }, name), make("span", { class: "sub" }, image.names.slice(1).join(", "))),
      make("td", { class: "wide" }, make("span", { class: "id" }, short(image.id))),
      make("td", { "data-label": "Made from" }, image.language),
      make("td", { "data-label": "Size", class: "tight" }, bytes(image.size_bytes)),
      make("td", { "data-label": "Memory", class: "tight" }, `${image.usual_memory_mib} MiB`),
      make("td", { class: "wide", "data-label": "Made" }, when(image.created)),
      make("td", { class: "buttons" }, mayChange() && make("div", { class: "actions" },
        make("button", { type: "button", class: "primary", disabled: off, onclick: () => openRun(image), "aria-label": `Run ${name}` }, "Run"),
        make("button", { type: "button", class: "harm", disabled: off, onclick: remove, "aria-label": `Delete ${name}` }, "Delete"))));
  });
  return [heading("Images"), rows.length
    ? table(["Name", "Id", "Made from", "Size", "Memory", "Made", ""], rows)
    : empty("No images yet", "Build one from a directory with a program:", "kernctl build -t web .")];
}

function volumesPage() {
  const rows = state.volumes.map((volume) => {
    const holders = volume.attachments;
    const attached = holders.length === 0 ? make("span", { class: "pill" }, "free") : holders.flatMap((it) => {
      const id = state.instances.find((i) => i.name === it.instance)?.id ?? it.instance;
      return [make("a", { href: `#/instances/${encodeURIComponent(id)}` }, it.instance),
        make("span", { class: "sub" }, `${it.mount_point}${it.read_only ? " (read-only)" : ""}`)];
    });
    const remove = async () => {
      if (!(await confirm(`Delete ${volume.name}?`, "All files in it are lost.", "Delete"))) return;
      await act(volume.id, () => request("DELETE", at("volumes", volume.id)), `${volume.name} deleted`);
    };
    const detach = async (instance) => {
      await act(volume.id, () => request("POST", at("volumes", volume.id, `/detach?instance=${encodeURIComponent(instance)}`)), `${volume.name} detached from ${instance}`);
    };
    const off = state.busy.has(volume.id);
    const detachers = holders.map(({ instance }) => {
      const what = holders.length > 1 ? `Detach from ${instance}` : "Detach";
      const label = holders.length > 1 ? `Detach ${volume.name} from ${instance}` : `Detach ${volume.name}`;
      return make("button", { type: "button", disabled: off, onclick: () => detach(instance), "aria-label": label }, what);
    });
    return make("tr", { "data-key": volume.id },
      make("td", {}, make("span", { class: "name" }, volume.name), make("span", { class: "sub id" }, short(volume.id))),
      make("td", { class: "state tight" }, bytes(volume.size_bytes)),
      make("td", { class: "wide", "data-label": "Attached to" }, attached),
      make("td", { "data-label": "Provider" }, volume.provider),
      make("td", { class: "wide", "data-label": "Made" }, when(volume.created)),
      make("td", { class: "buttons" }, mayChange() && make("div", { class: "actions" },
        ...detachers,
        make("button", { type: "button", class: "harm", disabled: off || holders.length > 0, onclick: remove, "aria-label": `Delete ${volume.name}` }, "Delete"))));
  });
  const create = mayChange() && make("button", { type: "button", class: "primary", id: "new-volume", onclick: () => openDialog("volume") }, "New volume");
  return [heading("Volumes", create), rows.length
    ? table(["Name", "Size", "Attached to", "Provider", "Made", ""], rows)
    : empty("No volumes yet", "A volume keeps files when instances go:", "kernctl volume create data --size 1G")];
}

function eventsPage() {
  const items = state.events.map((event) => make("li", {},
    make("time", { dateTime: event.time, title: event.time }, new Date(event.time).toLocaleTimeString()),
    make("strong", {}, event.action),
    make("span", {}, `${event.subject} ${event.name}`, ...Object.entries(event.attributes).map(([k, v]) => make("span", { class: "sub" }, `${k}: ${v}`)))));
  return [heading("Events", make("p", {}, "What happened since this page was opened.")), items.length
    ? make("ul", { class: "card events" }, items)
    : empty("Nothing happened yet", "Events come here as they happen, and in a terminal:", "kernctl events")];
}

// ---- Forms ---------------------------------------------------------------------------------

function openDialog(name) {
  find(`${name}-form`).reset();
  find(`${name}-error`).textContent = "";
  find(`${name}-dialog`).showModal();
}

function openRun(chosen) {
  openDialog("run");
  const options = state.images.map((image) => make("option", { value: image.names[0] ?? image.id, selected: image.id === chosen?.id }, image.names[0] ?? short(image.id)));
  find("run-image").replaceChildren(...options);
  imageChosen();
}

function imageChosen() {
  const image = state.images.find((i) => (i.names[0] ?? i.id) === find("run-image").value);
  find("run-memory").placeholder = image ? `${image.usual_memory_mib}, at least ${image.least_memory_mib}` : "";
  find("run-memory").min = image?.least_memory_mib ?? 1;
  find("run-ports").value = (image?.ports ?? []).map((p) => `${p.guest}:${p.guest}${p.protocol === "udp" ? "/udp" : ""}`).join(", ");
  find("run-cpus").placeholder = image?.usual_cpus ?? 1;
}

const list = (text) => text.split(",").map((part) => part.trim()).filter(Boolean);

function portsFrom(text) {
  return list(text).map((part) => {
    const found = /^(?:(\d{1,5}):)?(\d{1,5})(?:\/(tcp|udp))?$/.exec(part);
    if (!found || found[2] > 65535 || found[1] > 65535) throw new Failure(`“${part}” is not a port.`, "Write HOST:GUEST, for example 8080:80, or 5353:53/udp.");
    return { host_address: "127.0.0.1", host: Number(found[1] ?? found[2]), guest: Number(found[2]), protocol: found[3] ?? "tcp" };
  });
}

function runRequest() {
  const value = (id) => find(`run-${id}`).value.trim();
  const env = {};
  for (const line of find("run-env").value.split("\n").filter((l) => l.trim())) {
    const cut = line.indexOf("=");
    if (cut < 1) throw new Failure(`“${line}” is not a variable.`, "Write NAME=value.");
    env[line.slice(0, cut).trim()] = line.slice(cut + 1);
  }
  const volumes = list(value("volumes")).map((part) => {
    const found = /^([^:]+):(\/[^:]*)(:ro)?$/.exec(part);
    if (!found) throw new Failure(`“${part}” is not a volume.`, "Write NAME:/DIRECTORY, with :ro behind to only read.");
    return { volume: found[1], mount_point: found[2], read_only: Boolean(found[3]) };
  });
  const request = { image: value("image"), name: value("name"), env, volumes, ports: portsFrom(value("ports")), restart: { name: value("restart") } };
  if (value("memory")) request.memory_mib = Number(value("memory"));
  if (value("cpus")) request.cpus = Number(value("cpus"));
  if (value("args")) request.args = value("args").split(/\s+/);
  return request;
}

/** Sends a form; it stays open with what is wrong. */
function form(name, send) {
  find(`${name}-form`).addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = event.target.querySelector("[type=submit]");
    button.disabled = true;
    find(`${name}-error`).textContent = "";
    try {
      await send();
      find(`${name}-dialog`).close();
      await refresh();
    } catch (error) {
      find(`${name}-error`).textContent = error.advice ? `${error.message}\n${error.advice}` : error.message;
    } finally {
      button.disabled = false;
    }
  });
}

form("run", async () => {
  const made = await (await request("POST", "/instances", { body: runRequest() })).json();
  announce(`${made.name} runs`);
  location.hash = `#/instances/${encodeURIComponent(made.id)}`;
});
form("volume", async () => {
  const size = Math.round(Number(find("volume-size").value) * 1024 * 1024);
  const query = new URLSearchParams({ name: find("volume-name").value.trim(), size_bytes: String(size) });
  await request("POST", `/volumes?${query}`);
  announce("Volume made");
});
form("token", async () => {
  sessionStorage.setItem(TOKEN, find("token-input").value.trim());
  find("token-input").value = "";
  try {
    await read("/info");
  } catch (error) {
    sessionStorage.removeItem(TOKEN);
    throw error;
  }
  start();
});

// ---- Pages ---------------------------------------------------------------------------------

const PAGES = { instances: instancesPage, images: imagesPage, volumes: volumesPage, events: eventsPage };

/** Puts new nodes into a page without taking the focus away. */
function replace(parent, nodes) {
  const held = document.activeElement;
  const key = parent.contains(held) && (held.id || held.getAttribute("aria-label") || held.getAttribute("href"));
  parent.replaceChildren(...nodes);
  if (!key) return;
  const same = [...parent.querySelectorAll("a, button")].find((e) => key === (e.id || e.getAttribute("aria-label") || e.getAttribute("href")));
  same?.focus({ preventScroll: true });
}

let shown = "";
function show() {
  for (const kind of ["instances", "images", "volumes"]) find(`count-${kind}`).textContent = state[kind]?.length ?? "";
  if (state.info) {
    const { version, default_provider: provider, directory } = state.info;
    find("footer").textContent = `Daemon ${version}, provider ${provider}, ${directory}. You may ${{ read: "look", operate: "operate", admin: "administer" }[state.role] ?? state.role}.`;
  }
  if (view?.update) {
    view.update();
    return;
  }
  if (!state.instances) {
    if (state.problem) replace(find("main"), [make("div", { class: "card empty" }, make("h2", {}, state.problem.message), make("p", {}, state.problem.advice ?? ""))]);
    return;
  }
  const nodes = PAGES[view.kind]();
  // Untouched while nothing changed: a selection, a focus or a click in progress stays.
  const look = nodes.map((node) => node.outerHTML).join("");
  if (look === shown) return;
  shown = look;
  replace(find("main"), nodes);
}

function route() {
  const [, kind = "instances", id] = location.hash.split("/");
  view?.close?.();
  shown = "";
  const page = kind in PAGES ? kind : "instances";
  document.title = `${page[0].toUpperCase()}${page.slice(1)} – Bhojpur Kernel`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${page}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (page === "instances" && id) {
    view = instanceView(decodeURIComponent(id));
    find("main").replaceChildren(...view.nodes);
  } else {
    view = { kind: page };
    if (!state.instances) find("main").replaceChildren();
  }
  show();
}

let started = false;
async function start() {
  if (started) {
    refresh();
    return;
  }
  started = true;
  read("/providers").then((found) => { providers = found; show(); }, () => {});
  followEvents();
  followUse();
  setInterval(() => { if (!document.hidden) soon(); }, 15_000);
}

onUnauthorized(askForToken);
find("token-button").addEventListener("click", () => askForToken());
find("token-forget").addEventListener("click", () => {
  sessionStorage.removeItem(TOKEN);
  location.reload();
});
find("confirm-yes").addEventListener("click", () => find("confirm-dialog").close("yes"));
find("confirm-no").addEventListener("click", () => find("confirm-dialog").close("no"));
find("run-image").addEventListener("change", imageChosen);
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  find("main").focus();
});
window.addEventListener("hashchange", () => {
  route();
  find("main").focus({ preventScroll: true });
  window.scrollTo(0, 0);
});
route();
start();
