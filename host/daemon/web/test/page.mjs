// SPDX-License-Identifier: Apache-2.0 OR MIT
// The page with a daemon that is made for it: every control, hostile words, failures.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, afterEach, before, test as node } from "node:test";
import { LIMIT, browse, open, tidy, within } from "./browser.mjs";
import { Fake, HOSTILE, HOSTILE_LOG, told } from "./fake.mjs";

const shots = process.env.SCREENSHOTS;
if (shots) mkdirSync(shots, { recursive: true });
const shoot = async (page, name) => {
  if (shots) await page.screenshot({ path: `${shots}/${name}.png`, fullPage: true });
};
let browser;
const fakes = new Set();
const test = (name, body) => node(name, { timeout: LIMIT.test }, body);
before(async () => { browser = await browse(); }, { timeout: LIMIT.hook });
afterEach(async () => {
  for (const fake of fakes) fake.stop();
  fakes.clear();
  await tidy(browser);
}, { timeout: LIMIT.hook });
after(async () => { await within(20_000, "the browser ends", browser?.close()); }, { timeout: LIMIT.hook });

async function empty() {
  const fake = await new Fake().start();
  fakes.add(fake);
  return fake;
}

async function furnished() {
  const fake = await empty();
  const web = fake.image("web:latest");
  fake.image("worker:1.4", { language: "rust", size_bytes: 4_100_000, ports: [] });
  const running = fake.instance("shop", { ports: [{ host_address: "127.0.0.1", host: 8080, guest: 80, protocol: "tcp" }], health: "healthy", labels: { tier: "front" }, env_names: ["DATABASE_URL"], restart: { name: "on-failure", max_retries: 3 }, volumes: [{ volume: "data", mount_point: "/srv/data", read_only: false }], image_id: web.id });
  fake.instance("mail-queue", { image: "worker:1.4" });
  fake.instance("nightly-report", { image: "worker:1.4", state: "stopped", exit_code: 1, ended: new Date().toISOString() });
  fake.volume("data", { attachments: [{ instance: running.name, mount_point: "/srv/data", read_only: false }] });
  fake.volume("backups", { size_bytes: 5 * 2 ** 30 });
  fake.log(running, "listening on :80\nGET / 200 1.2 ms\n");
  return { fake, running };
}

async function finish(page) {
  assert.deepEqual(page.faults, []);
  assert.equal(await page.evaluate(() => window.harmed), undefined);
}

test("an empty daemon tells the first command", async () => {
  const fake = await empty();
  const page = await open(browser, fake.url);
  await page.getByText("kernctl build -t web . && kernctl run").waitFor();
  await page.getByRole("link", { name: "Images" }).click();
  await page.getByText("kernctl build -t web .", { exact: true }).waitFor();
  await page.getByRole("link", { name: "Volumes" }).click();
  await page.getByText("kernctl volume create data").waitFor();
  await shoot(page, "empty");
  fake.image("web:latest");
  fake.event("image", { id: "x", name: "web" }, "build");
  await page.getByRole("link", { name: "Instances" }).click();
  await page.getByText("kernctl run -d -p 8080:8080 web:latest").waitFor();
  await finish(page);
});

test("the list lives", async () => {
  const { fake, running } = await furnished();
  const page = await open(browser, fake.url);
  const row = page.getByRole("row", { name: /shop/ });
  await row.getByText("healthy").waitFor();
  await row.getByText(/\d %/).waitFor();
  assert.equal(await page.locator("#count-instances").innerText(), "3");
  await page.getByText("stopped (1)").waitFor();
  assert.equal(await row.getByRole("link", { name: "8080→80" }).getAttribute("rel"), "noreferrer noopener");
  await shoot(page, "instances");
  fake.set(running, { health: "unhealthy" }, "health");
  await row.getByText("unhealthy").waitFor();
  assert.match(await page.locator("#announce").innerText(), /shop: health/);
  fake.instance("newcomer");
  fake.event("instance", { id: "n", name: "newcomer" }, "create");
  await page.getByRole("row", { name: /newcomer/ }).waitFor();
  // A daemon that goes and comes back.
  fake.cut();
  await page.waitForFunction(() => document.querySelector("#link").classList.contains("lost"));
  await page.waitForFunction(() => document.querySelector("#link").classList.contains("live"));
  fake.instance("after-the-cut");
  fake.event("instance", { id: "n", name: "after-the-cut" }, "create");
  await page.getByRole("row", { name: /after-the-cut/ }).waitFor();
  page.faults = page.faults.filter((fault) => !fault.includes("ERR_"));
  await page.getByRole("link", { name: "Events" }).click();
  await page.getByText("instance after-the-cut").waitFor();
  await finish(page);
});

test("instances are stopped, started, restarted, killed and deleted, after a question", async () => {
  const { fake, running } = await furnished();
  const page = await open(browser, fake.url);
  const row = page.getByRole("row", { name: /shop/ });
  await row.getByRole("button", { name: "Stop shop" }).click();
  await page.getByRole("button", { name: "Keep it" }).click();
  assert.equal(running.state, "running");
  await row.getByRole("button", { name: "Stop shop" }).click();
  await shoot(page, "confirm");
  await page.locator("#confirm-yes").click();
  await row.getByText("stopped (143)").waitFor();
  await row.getByRole("button", { name: "Start shop" }).click();
  await row.getByRole("button", { name: "Stop shop" }).waitFor();
  await row.getByRole("link", { name: "shop" }).click();
  await page.getByRole("button", { name: "Restart shop" }).click();
  await page.getByRole("button", { name: "Pause shop" }).click();
  await page.getByRole("button", { name: "Resume shop" }).click();
  await page.getByRole("button", { name: "Kill shop" }).click();
  await page.locator("#confirm-yes").click();
  await page.locator(".pill", { hasText: "stopped" }).waitFor();
  fake.refuse = told(409, "conflict", "shop is being backed up", "wait for it");
  await page.getByRole("button", { name: "Delete shop" }).click();
  await page.locator("#confirm-yes").click();
  await page.getByText("shop is being backed up").waitFor();
  await page.getByText("wait for it").waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.getByRole("button", { name: "Delete shop" }).click();
  await page.locator("#confirm-yes").click();
  await page.getByText("It is not there any more.").waitFor();
  for (const verb of ["stop", "start", "restart", "pause", "resume", "kill"]) {
    assert.ok(fake.requests.includes(`POST /v1/instances/${running.id}/${verb}`), verb);
  }
  page.faults = page.faults.filter((fault) => !fault.includes("409") && !fault.includes("404"));
  await finish(page);
});

test("logs arrive, go on after a restart, and charts are drawn", async () => {
  const { fake, running } = await furnished();
  const page = await open(browser, `${fake.url}#/instances/${running.id}`);
  const output = page.getByRole("log");
  await output.getByText("listening on :80").waitFor();
  for (let count = 0; count < 200; count += 1) fake.log(running, `GET /item/${count} 200 ö\n`);
  await output.getByText("GET /item/199 200 ö").waitFor();
  const away = await output.evaluate((e) => e.scrollHeight - e.scrollTop - e.clientHeight);
  assert.ok(away < 5, `follows, ${away} away`);
  await page.getByLabel("follow").uncheck();
  await output.evaluate((e) => { e.scrollTop = 0; });
  fake.log(running, "not scrolled\n");
  await output.getByText("not scrolled").waitFor();
  assert.equal(await output.evaluate((e) => e.scrollTop), 0);
  await page.getByLabel("follow").check();
  for (const kind of ["cpu", "memory"]) {
    await page.waitForFunction((k) => document.querySelector(`.${k} .curve`)?.getAttribute("d")?.split("L").length > 62, kind);
    assert.match(await page.locator(`.chart.${kind} output`).innerText(), /\d/);
  }
  await shoot(page, "instance");
  fake.set(running, { state: "stopped", exit_code: 0 }, "die");
  await page.locator(".pill", { hasText: "stopped (0)" }).waitFor();
  fake.set(running, { state: "running" }, "start");
  fake.log(running, "second life\n");
  await output.getByText("second life").waitFor();
  assert.equal((await output.innerText()).split("GET /item/7 ").length, 2, "nothing comes twice");
  await finish(page);
});

test("an image is run with all that was asked for", async () => {
  const { fake } = await furnished();
  const page = await open(browser, `${fake.url}#/images`);
  await shoot(page, "images");
  await page.getByRole("button", { name: "Run web:latest" }).click();
  await page.locator("#run-name").fill("second");
  assert.equal(await page.locator("#run-ports").inputValue(), "8080:8080, 53:53/udp");
  await page.locator("#run-ports").fill("8081:80, nonsense");
  await page.locator("#run-memory").fill("96");
  await page.locator("#run-env").fill("GREETING=hello = world\nDEBUG=1");
  await page.locator("#run-volumes").fill("backups:/b:ro");
  await page.locator("#run-restart").selectOption("always");
  await shoot(page, "run");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByText("“nonsense” is not a port.").waitFor();
  await page.locator("#run-ports").fill("8081:80, 53/udp");
  fake.refuse = told(422, "invalid", "96 MiB is too little", "give it more");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByText("96 MiB is too little").waitFor();
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByRole("heading", { name: "second" }).waitFor();
  const made = fake.instances.at(-1);
  assert.deepEqual(made.env, { GREETING: "hello = world", DEBUG: "1" });
  assert.deepEqual(made.ports.map((p) => [p.host, p.guest, p.protocol]), [[8081, 80, "tcp"], [53, 53, "udp"]]);
  assert.deepEqual(made.volumes, [{ volume: "backups", mount_point: "/b", read_only: true }]);
  assert.deepEqual([made.memory_mib, made.restart], [96, { name: "always" }]);
  page.faults = page.faults.filter((fault) => !fault.includes("422"));
  await finish(page);
});

test("volumes are made, detached and deleted", async () => {
  const { fake } = await furnished();
  const page = await open(browser, `${fake.url}#/volumes`);
  await page.getByRole("link", { name: "shop" }).waitFor();
  assert.ok(await page.getByRole("button", { name: "Delete data" }).isDisabled());
  await shoot(page, "volumes");
  await page.getByRole("button", { name: "New volume" }).click();
  await page.locator("#volume-name").fill("data");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByText("the name data is taken").waitFor();
  await page.locator("#volume-name").fill("cache");
  await page.getByLabel("Size (MiB)").fill("64");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("row", { name: /cache/ }).getByText("64 MiB").waitFor();
  // Two that only read share one.
  fake.volume("assets", { attachments: ["shop", "mail-queue"].map((instance) => ({ instance, mount_point: "/a", read_only: true })) });
  fake.event("volume", { id: "x", name: "assets" }, "attach");
  const shared = page.getByRole("row", { name: /assets/ });
  await shared.getByRole("link", { name: "mail-queue" }).waitFor();
  assert.equal(await shared.getByText("/a (read-only)").count(), 2);
  await shared.getByRole("button", { name: "Detach assets from shop" }).click();
  await shared.getByRole("button", { name: "Detach assets", exact: true }).click();
  await shared.getByText("free").waitFor();
  await page.getByRole("button", { name: "Detach data" }).click();
  await page.getByRole("button", { name: "Delete data" }).click();
  await page.locator("#confirm-yes").click();
  await page.waitForFunction(() => !document.querySelector("main").textContent.includes("data"));
  page.faults = page.faults.filter((fault) => !fault.includes("409"));
  await finish(page);
});

test("hostile names and output are only text", async () => {
  const { fake } = await furnished();
  fake.image(HOSTILE);
  const bad = fake.instance(HOSTILE, { error: HOSTILE, image: HOSTILE, address: HOSTILE, labels: { [HOSTILE]: HOSTILE }, args: [HOSTILE], env_names: [HOSTILE] });
  fake.volume(HOSTILE, { attachments: [{ instance: bad.name, mount_point: HOSTILE, read_only: true }] });
  const page = await open(browser, fake.url);
  await page.getByRole("link", { name: HOSTILE }).waitFor();
  fake.event("instance", bad, "error", { exit_code: HOSTILE });
  for (const kind of ["images", "volumes", "events"]) {
    await page.goto(`${fake.url}#/${kind}`);
    await page.getByText(HOSTILE).first().waitFor();
  }
  fake.log(bad, HOSTILE_LOG);
  await page.goto(`${fake.url}#/instances/${bad.id}`);
  await page.getByRole("heading", { name: HOSTILE }).waitFor();
  await page.getByRole("log").getByText(`<b>bold?</b><img src=x onerror="window.harmed=2">red "quotes' & so on`).waitFor();
  fake.refuse = told(500, "internal", HOSTILE, HOSTILE);
  await page.getByRole("button", { name: /^Restart/ }).click();
  await page.locator(".notice strong", { hasText: "<img" }).waitFor();
  assert.equal(await page.locator("img, main script, b").count(), 0);
  await page.setViewportSize({ width: 390, height: 800 });
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), "fits");
  page.faults = page.faults.filter((fault) => !fault.includes("500"));
  await finish(page);
});

test("a token is asked for, kept in the tab and sent", async () => {
  const { fake } = await furnished();
  fake.token = "secret-token";
  const page = await open(browser, fake.url);
  await page.getByRole("textbox", { name: "Token" }).waitFor();
  await shoot(page, "token");
  await page.getByRole("textbox", { name: "Token" }).fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByText("the token is wrong").waitFor();
  await page.getByRole("textbox", { name: "Token" }).fill("secret-token");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("row", { name: /shop/ }).waitFor();
  await page.reload();
  await page.getByRole("row", { name: /shop/ }).waitFor();
  assert.equal(await page.evaluate(() => localStorage.length + document.cookie.length), 0);
  assert.ok(fake.requests.every((request) => !request.includes("secret-token")), "not in an address");
  page.faults = page.faults.filter((fault) => !fault.includes("401"));
  await finish(page);
});

test("who may only look sees no buttons", async () => {
  const { fake } = await furnished();
  fake.role = "read";
  const page = await open(browser, fake.url);
  await page.getByRole("row", { name: /shop/ }).waitFor();
  assert.equal(await page.locator("main button").count(), 0);
  await finish(page);
});

test("it fits a phone, in the dark, and works with the keyboard", async () => {
  const { fake, running } = await furnished();
  const page = await open(browser, fake.url, { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  await page.getByText("healthy").waitFor();
  const fits = () => page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth);
  assert.ok(await fits());
  await shoot(page, "phone");
  await page.goto(`${fake.url}#/instances/${running.id}`);
  await page.getByRole("log").getByText("listening").waitFor();
  assert.ok(await fits());
  await shoot(page, "phone-instance");
  const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  assert.equal(dark, "rgb(14, 17, 22)");
  // All that can be used has a name, and is reached in order.
  const nameless = await page.evaluate(() => [...document.querySelectorAll("button:not(#confirm-yes), input, select, textarea, a")]
    .filter((e) => !(e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim())).map((e) => e.outerHTML));
  assert.deepEqual(nameless, []);
  await page.reload();
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await finish(page);
});
