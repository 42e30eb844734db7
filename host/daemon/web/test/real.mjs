// SPDX-License-Identifier: Apache-2.0 OR MIT
// The page with the real daemon: over TLS with a token, running a unikernel in QEMU.
// KERNCTL names the program, CONTEXT a directory with a web server in Go on port 8080.

import assert from "node:assert/strict";
import { spawn, execFile } from "node:child_process";
import { mkdtempSync, rmSync, mkdirSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { LIMIT, browse, open, within } from "./browser.mjs";

const { KERNCTL, CONTEXT, SCREENSHOTS } = process.env;
const home = mkdtempSync(join(tmpdir(), "bhojpur-web-"));
const environment = { ...process.env, BHOJPUR_HOME: home };
const kernctl = (...words) => promisify(execFile)(KERNCTL, words, { env: environment, timeout: 150_000 });
if (SCREENSHOTS) mkdirSync(SCREENSHOTS, { recursive: true });
let browser;
let daemon;
let url;

async function freePort() {
  const server = createServer();
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

before(async () => {
  const port = await freePort();
  url = `https://127.0.0.1:${port}/`;
  daemon = spawn(KERNCTL, ["daemon", "--listen", `127.0.0.1:${port}`], { env: environment, stdio: ["ignore", "ignore", "pipe"] });
  daemon.stderr.setEncoding("utf8");
  let said = "";
  await new Promise((done, failed) => {
    daemon.stderr.on("data", (text) => { said += text; if (said.includes(`ready on https`)) done(); });
    daemon.on("exit", (code) => failed(new Error(`the daemon ended with ${code}: ${said}`)));
    setTimeout(() => failed(new Error(`the daemon does not get ready: ${said}`)), 120_000).unref();
  });
  await kernctl("build", "-t", "web", CONTEXT);
  browser = await browse();
}, { timeout: 2 * LIMIT.hook });

after(async () => {
  await within(20_000, "the browser ends", browser?.close()).catch((error) => console.error(error));
  await kernctl("ps", "-a", "-q").then(
    async ({ stdout }) => { for (const id of stdout.split("\n").filter(Boolean)) await kernctl("rm", "-f", id); },
    () => {},
  );
  daemon?.kill("SIGTERM");
  await new Promise((done) => { daemon.on("exit", done); setTimeout(done, 20_000).unref(); });
  rmSync(home, { recursive: true, force: true });
}, { timeout: LIMIT.hook });

test("a unikernel is run, watched, stopped, started and deleted from the page", { timeout: 2 * LIMIT.test }, async () => {
  const secret = (await kernctl("daemon", "token", "create", "page", "--role", "operate")).stdout.trim();
  const page = await open(browser, url, { allowed: ["401"] });
  page.setDefaultTimeout(60_000);
  const input = page.getByRole("textbox", { name: "Token" });
  await input.fill(secret);
  await page.getByRole("button", { name: "Sign in" }).click();

  await page.getByText("No instances yet").waitFor();
  await page.getByRole("link", { name: "Volumes" }).click();
  await page.getByRole("button", { name: "New volume" }).click();
  await page.locator("#volume-name").fill("data");
  await page.locator("#volume-size").fill("16");
  await page.getByRole("button", { name: "Create" }).click();
  await page.getByRole("row", { name: /data/ }).getByText("16 MiB").waitFor();

  await page.getByRole("link", { name: "Images" }).click();
  await page.getByRole("button", { name: /^Run web/ }).click();
  const port = await freePort();
  await page.locator("#run-name").fill("shop");
  await page.locator("#run-ports").fill(`${port}:8080`);
  await page.locator("#run-volumes").fill("data:/data");
  await page.getByRole("button", { name: "Run", exact: true }).click();
  await page.getByRole("heading", { name: "shop" }).waitFor();
  await page.locator(".pill", { hasText: "running" }).waitFor();
  await page.getByRole("log").getByText(/\S/).first().waitFor();
  for (const kind of ["cpu", "memory"]) {
    await page.waitForFunction((k) => document.querySelector(`.${k} .curve`)?.getAttribute("d")?.includes("L"), kind);
    assert.match(await page.locator(`.chart.${kind} output`).innerText(), /\d/);
  }
  let answer;
  for (let turn = 0; turn < 60 && !answer?.ok; turn += 1) {
    answer = await fetch(`http://127.0.0.1:${port}/`, { signal: AbortSignal.timeout(5000) }).catch(() => undefined);
    if (!answer?.ok) await new Promise((done) => setTimeout(done, 1000));
  }
  assert.ok(answer?.ok, "the unikernel answers");
  if (SCREENSHOTS) await page.screenshot({ path: `${SCREENSHOTS}/real.png`, fullPage: true });

  await page.getByRole("button", { name: "Stop shop" }).click();
  await page.locator("#confirm-yes").click();
  await page.locator(".pill", { hasText: "stopped" }).waitFor();
  await page.getByRole("button", { name: "Start shop" }).click();
  await page.locator(".pill", { hasText: "running" }).waitFor();
  // What others do is seen as well.
  await kernctl("stop", "-t", "1", "shop");
  await page.locator(".pill", { hasText: "stopped" }).waitFor();
  await page.getByRole("button", { name: "Delete shop" }).click();
  await page.locator("#confirm-yes").click();
  await page.getByText("It is not there any more.").waitFor();
  await page.getByRole("link", { name: "Volumes" }).click();
  await page.getByRole("button", { name: "Delete data" }).click();
  await page.locator("#confirm-yes").click();
  await page.getByText("No volumes yet").waitFor();
  await page.getByRole("link", { name: "Events" }).click();
  await page.getByText("volume data").first().waitFor();
  assert.deepEqual(page.faults.filter((fault) => !fault.includes("404")), []);
});
