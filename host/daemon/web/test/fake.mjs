// SPDX-License-Identifier: Apache-2.0 OR MIT
// A daemon for the page alone: the paths that it uses, strict about what it sends, with
// names that are meant to do harm.

import { createServer } from "node:http";
import { readFileSync } from "node:fs";

const FILES = {
  "/": ["index.html", "text/html; charset=utf-8"],
  "/app.js": ["app.js", "text/javascript; charset=utf-8"],
  "/daemon.js": ["daemon.js", "text/javascript; charset=utf-8"],
  "/parts.js": ["parts.js", "text/javascript; charset=utf-8"],
  "/style.css": ["style.css", "text/css; charset=utf-8"],
};
// The one of src/web.rs.
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
  + "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const RUN_FIELDS = ["image", "name", "env", "volumes", "ports", "restart", "memory_mib", "cpus", "args"];

export const HOSTILE = `<img src=x onerror="window.harmed=1"><script>window.harmed=1</script>`;
export const HOSTILE_LOG = `<b>bold?</b><img src=x onerror="window.harmed=2">\x1b[31mred\x1b[0m "quotes' & so on\n`;

class Told extends Error {
  constructor(status, code, message, advice) {
    super(message);
    Object.assign(this, { status, code, advice });
  }
}

export class Fake {
  token = null;
  role = "operate";
  images = [];
  instances = [];
  volumes = [];
  requests = [];
  logs = new Map();
  refuse = null;
  #listeners = new Set();
  #streams = new Set();
  #events = 0;
  #server = createServer((request, response) => this.#answer(request, response));

  async start() {
    await new Promise((done) => this.#server.listen(0, "127.0.0.1", done));
    // A test that failed does not keep the process.
    this.#server.unref();
    this.url = `http://127.0.0.1:${this.#server.address().port}/`;
    this.#sampling = setInterval(() => this.#sample(), 250).unref();
    return this;
  }

  #sampling;
  stop() {
    clearInterval(this.#sampling);
    this.#server.closeAllConnections();
    this.#server.close();
  }

  /** Cuts all streams, as a daemon does that is started again. */
  cut() {
    this.#server.closeAllConnections();
    this.#listeners.clear();
    this.#streams.clear();
  }

  image(name, fields = {}) {
    const image = {
      id: String(this.images.length + 1).padStart(2, "0").repeat(32), names: [name], language: "go",
      args: ["/app"], env: [], ports: [{ guest: 8080, protocol: "tcp" }, { guest: 53, protocol: "udp" }], size_bytes: 9_431_040, least_memory_mib: 18,
      usual_memory_mib: 64, created: time(-3600), staged: [], ...fields,
    };
    this.images.push(image);
    return image;
  }

  instance(name, fields = {}) {
    const instance = {
      id: `${this.instances.length + 17}f`.repeat(10).slice(0, 20) + this.instances.length, name, image: "web:latest", image_id: "01".repeat(32),
      provider: "qemu", state: "running", created: time(-900), started: time(-840), restarts: 0,
      env_names: [], labels: {}, memory_mib: 64, cpus: 1, ports: [], volumes: [],
      network: { mode: "default" }, restart: { name: "no" }, ...fields,
    };
    this.instances.push(instance);
    this.logs.set(instance.id, "");
    return instance;
  }

  volume(name, fields = {}) {
    const volume = {
      id: `${this.volumes.length + 3}a`.repeat(16), name, provider: "qemu", size_bytes: 256 << 20,
      attachments: [], labels: {}, created: time(-7200), ...fields,
    };
    this.volumes.push(volume);
    return volume;
  }

  event(subject, thing, action, attributes = {}) {
    this.#events += 1;
    const event = { id: this.#events, time: time(), subject, subject_id: thing.id, name: thing.name ?? "", action, attributes };
    for (const listener of this.#listeners) tell(listener, event, event.id);
  }

  log(instance, text) {
    const before = this.logs.get(instance.id);
    this.logs.set(instance.id, before + text);
    for (const stream of this.#streams) {
      if (stream.kind === "logs" && stream.instance === instance) this.#chunk(stream.response, Buffer.byteLength(before), text);
    }
  }

  set(instance, fields, action) {
    Object.assign(instance, fields);
    if (action) this.event("instance", instance, action);
    if (instance.state !== "running") {
      for (const stream of this.#streams) if (stream.instance === instance) stream.response.end();
    }
  }

  stats(instance, shift = 0) {
    const turn = (Date.now() + shift) / 1000 + instance.name.length;
    const cpu = 0.22 + 0.17 * Math.sin(turn * 1.3) + 0.05 * Math.sin(turn * 7);
    const memory = (38 + 9 * Math.sin(turn / 5)) * 2 ** 20;
    return {
      time: time(shift / 1000), cpu: Math.max(0, cpu), cpu_time_ns: 12e9, memory_bytes: Math.round(memory),
      memory_limit_bytes: instance.memory_mib * 2 ** 20,
    };
  }

  #sample() {
    for (const stream of this.#streams) {
      if (stream.kind === "stats" && stream.instance.state === "running") tell(stream.response, this.stats(stream.instance));
    }
  }

  #chunk(response, offset, text) {
    // One of both forms, as the daemon chooses by what the bytes are.
    const odd = /[^\x00-\x7f]/.test(text);
    tell(response, odd ? { offset, base64: Buffer.from(text).toString("base64") } : { offset, text }, offset + Buffer.byteLength(text));
  }

  async #answer(request, response) {
    const url = new URL(request.url, this.url);
    try {
      const file = FILES[url.pathname];
      if (file) {
        const text = readFileSync(new URL(`../${file[0]}`, import.meta.url));
        response.writeHead(200, { "content-type": file[1], "content-security-policy": POLICY, "x-content-type-options": "nosniff" });
        response.end(text);
        return;
      }
      let body = "";
      for await (const part of request) body += part;
      this.requests.push(`${request.method} ${url.pathname}${url.search}`);
      if (!url.pathname.startsWith("/v1/")) throw new Told(404, "not_found", `no ${url.pathname}`);
      if (this.token && request.headers.authorization !== `Bearer ${this.token}`) {
        throw new Told(401, "unauthorized", "the token is wrong", "make one: kernctl daemon token create");
      }
      if (this.role === "read" && request.method !== "GET") throw new Told(403, "forbidden", "the token only allows to look");
      const path = url.pathname.slice(4).split("/").map(decodeURIComponent);
      if (this.refuse && request.method !== "GET") {
        const refused = this.refuse;
        this.refuse = null;
        throw refused;
      }
      const value = this.#route(request.method, path, url.searchParams, body && JSON.parse(body), response);
      if (value === undefined) return;
      const status = value === null ? 204 : request.method === "POST" && path.length === 1 ? 201 : 200;
      response.writeHead(status, { "content-type": "application/json" });
      response.end(value === null ? "" : JSON.stringify(value));
    } catch (error) {
      if (!(error instanceof Told)) console.error("fake:", error);
      response.writeHead(error.status ?? 500, { "content-type": "application/json" });
      response.end(JSON.stringify({ code: error.code ?? "internal", message: error.message, advice: error.advice }));
    }
  }

  #stream(response, kind, instance) {
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.write(":\n\n");
    const stream = { kind, instance, response };
    this.#streams.add(stream);
    response.on("close", () => this.#streams.delete(stream));
  }

  #find(kind, name) {
    const found = this[kind].find((thing) => thing.id === name || thing.name === name);
    if (!found) throw new Told(404, "not_found", `there is no ${kind.slice(0, -1)} ${name}`);
    return found;
  }

  #route(method, [kind, name, verb, more], query, body, response) {
    const { images, instances, volumes } = this;
    if (method === "GET" && !name) {
      if (kind === "info") {
        const running = instances.filter((i) => i.state === "running").length;
        return { version: "0.1.0", pid: 1, directory: "/home/user/.bhojpur", default_provider: "qemu", images: images.length, instances: instances.length, running, volumes: volumes.length, started: time(-9000), role: this.role };
      }
      if (kind === "providers") return [{ name: "qemu", title: "QEMU", ready: true, available: true, status: "QEMU 7.2", needs: "", capabilities: ["ports", "pause", "volumes"] }];
      if (kind === "events") {
        response.writeHead(200, { "content-type": "text/event-stream" });
        response.write(":\n\n");
        this.#listeners.add(response);
        response.on("close", () => this.#listeners.delete(response));
        return undefined;
      }
      if (["images", "instances", "volumes"].includes(kind)) return this[kind];
    }
    if (kind === "instances") return this.#instances(method, name, verb, more, query, body, response);
    if (kind === "images" && method === "DELETE") {
      const at = images.findIndex((image) => image.id === name);
      if (instances.some((i) => i.image_id === name)) throw new Told(409, "conflict", `the image ${images[at].names[0]} is used by ${instances[0].name}`, "delete the instance first");
      images.splice(at, 1);
      return null;
    }
    if (kind === "volumes" && method === "POST" && !name) {
      if (volumes.some((v) => v.name === query.get("name"))) throw new Told(409, "conflict", `the name ${query.get("name")} is taken`, "choose another one");
      const made = this.volume(query.get("name"), { size_bytes: Number(query.get("size_bytes")) });
      this.event("volume", made, "create");
      return made;
    }
    if (kind === "volumes" && method === "POST" && verb === "detach") {
      const volume = this.#find("volumes", name);
      volume.attachments = volume.attachments.filter((it) => it.instance !== query.get("instance"));
      return volume;
    }
    if (kind === "volumes" && method === "DELETE") {
      volumes.splice(volumes.indexOf(this.#find("volumes", name)), 1);
      return null;
    }
    throw new Told(404, "not_found", `no ${method} ${kind}/${name ?? ""}/${verb ?? ""}`);
  }

  #image(name) {
    const found = this.images.find((image) => image.id === name || image.names.includes(name));
    if (!found) throw new Told(404, "not_found", `there is no image ${name}`);
    return found;
  }

  #instances(method, name, verb, more, query, body, response) {
    if (method === "POST" && !name) {
      const unknown = Object.keys(body).filter((field) => !RUN_FIELDS.includes(field));
      if (unknown.length) throw new Told(422, "invalid", `unknown field ${unknown[0]}`);
      const made = this.instance(body.name || "made-up", { ...body, env_names: Object.keys(body.env), memory_mib: body.memory_mib ?? 64, cpus: body.cpus ?? 1, started: time(), created: time(), name: body.name || "made-up", image_id: this.#image(body.image).id });
      this.event("instance", made, "start");
      return made;
    }
    const instance = this.#find("instances", name);
    if (method === "GET" && verb === "logs") {
      const text = this.logs.get(instance.id);
      const from = Number(query.get("offset") ?? 0);
      this.#stream(response, "logs", instance);
      if (Buffer.byteLength(text) > from) this.#chunk(response, from, Buffer.from(text).subarray(from).toString());
      if (instance.state !== "running") response.end();
      return undefined;
    }
    if (method === "GET" && verb === "stats" && more === "history") return Array.from({ length: 60 }, (_, n) => this.stats(instance, (n - 60) * 1000));
    if (method === "GET" && verb === "stats" && query.get("stream")) {
      this.#stream(response, "stats", instance);
      return undefined;
    }
    if (method === "GET" && verb === "stats") return this.stats(instance);
    if (method === "DELETE" && !verb) {
      if (instance.state === "running" && query.get("force") !== "true") throw new Told(409, "conflict", `${instance.name} is running`);
      this.instances.splice(this.instances.indexOf(instance), 1);
      this.event("instance", instance, "delete");
      return null;
    }
    const ends = { stop: ["stopped", "stop"], kill: ["stopped", "die"], start: ["running", "start"], restart: ["running", "restart"], pause: ["paused", "pause"], resume: ["running", "resume"] };
    if (method === "POST" && verb in ends) {
      const [next, action] = ends[verb];
      this.set(instance, { state: next, exit_code: next === "stopped" ? 143 : undefined, started: time() }, action);
      return instance;
    }
    throw new Told(404, "not_found", `no ${method} instances/${verb}`);
  }
}

export const told = (...parts) => new Told(...parts);
const time = (seconds = 0) => new Date(Date.now() + seconds * 1000).toISOString();

function tell(response, value, id) {
  response.write(`${id === undefined ? "" : `id: ${id}\n`}data: ${JSON.stringify(value)}\n\n`);
}
