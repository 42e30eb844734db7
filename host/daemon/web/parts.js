// SPDX-License-Identifier: Apache-2.0 OR MIT
// What the page is made of: elements, words, charts. Nothing here is parsed as HTML.

export const find = (id) => document.getElementById(id);
/** Seconds that a chart may show. */
export const WINDOWS = [60, 120, 300, 600];

/** An element with properties and children; strings become text. */
export function make(tag, properties = {}, ...children) {
  const svg = ["svg", "path", "line"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.setAttribute("class", value);
    else if (key in element && !svg && !key.startsWith("aria")) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; count >= 1024 && unit < units.length - 1; unit += 1) count /= 1024;
  return `${unit && count < 10 ? count.toFixed(1) : Math.round(count)} ${units[unit]}`;
}

export function ago(time) {
  const seconds = Math.max(0, (Date.now() - Date.parse(time)) / 1000);
  if (!Number.isFinite(seconds)) return "";
  for (const [size, unit] of [[86400, "day"], [3600, "hour"], [60, "minute"]]) {
    const count = Math.floor(seconds / size);
    if (count) return `${count} ${unit}${count > 1 ? "s" : ""} ago`;
  }
  return "just now";
}

export const percent = (part) => `${part < 0.0995 ? (part * 100).toFixed(1) : Math.round(part * 100)} %`;
export const short = (id) => id.slice(0, 12);
export const when = (time) => make("time", { dateTime: time, title: time }, ago(time));

export function pill(instance) {
  let kind = { running: "good", error: "bad", paused: "warn" }[instance.state] ?? "";
  let text = instance.state;
  if (["creating", "starting", "stopping", "restarting", "deleting"].includes(text)) kind = "warn busy";
  if (text === "stopped" && instance.exit_code !== undefined) {
    text = `stopped (${instance.exit_code})`;
    if (instance.exit_code !== 0) kind = "bad";
  }
  if (text === "running" && instance.health) {
    text = instance.health;
    kind = { healthy: "good", unhealthy: "bad" }[instance.health] ?? "warn busy";
  }
  return make("span", { class: `pill ${kind}` }, text);
}

export function portLinks(instance) {
  return instance.ports.flatMap((port, index) => {
    const words = `${port.host}→${port.guest}${port.protocol === "udp" ? "/udp" : ""}`;
    const local = ["127.0.0.1", "0.0.0.0", "localhost"].includes(port.host_address);
    const href = `http://${local ? location.hostname || "127.0.0.1" : port.host_address}:${port.host}/`;
    const reachable = instance.state === "running" && port.protocol !== "udp";
    const item = reachable
      ? make("a", { href, target: "_blank", rel: "noreferrer noopener" }, words)
      : make("span", {}, words);
    return index ? [", ", item] : [item];
  });
}

export function chart(kind, title) {
  const area = make("path", { class: "area" });
  const curve = make("path", { class: "curve" });
  const grid = [0, 50, 100].map((y) => make("line", { x1: 0, x2: 100, y1: y, y2: y }));
  const svg = make("svg", { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img" }, grid, area, curve);
  const now = make("output", {}, "–");
  const top = make("span", {}, "");
  const from = make("span", {}, "");
  const box = make("section", { class: `card chart ${kind}`, "aria-label": title },
    make("header", {}, make("h3", {}, title), now), svg, make("div", { class: "axis" }, from, top, make("span", {}, "now")));
  return {
    box,
    /** Points have `time` in milliseconds and `value`; `most` is the top. */
    draw(points, most, words) {
      if (!points.length) return;
      const last = points.at(-1);
      const span = WINDOWS.find((s) => last.time - points[0].time <= s * 1000) ?? WINDOWS.at(-1);
      const x = (point) => Math.max(0, 100 - (last.time - point.time) / (span * 10)).toFixed(2);
      const y = (point) => (100 - Math.min(point.value / most, 1) * 100).toFixed(2);
      const line = points.map((point) => `${x(point)} ${y(point)}`).join("L");
      curve.setAttribute("d", `M${line}`);
      area.setAttribute("d", `M${x(points[0])} 100L${line}L100 100Z`);
      now.textContent = words(last.value);
      top.textContent = `full scale ${words(most)}`;
      from.textContent = `${span / 60} min ago`;
      svg.setAttribute("aria-label", `${title}: now ${words(last.value)}, at most ${words(Math.max(...points.map((point) => point.value)))}`);
    },
  };
}

/** Escape sequences of terminals mean nothing here. */
export const plain = (text) => text.replace(/\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])/g, "").replaceAll("\r\n", "\n");
