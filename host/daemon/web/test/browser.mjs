// SPDX-License-Identifier: Apache-2.0 OR MIT
// A headless Chromium that notes what a page must not do.

import { chromium } from "playwright-core";

const ARGUMENTS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];

/** How long a test, what comes before it and a single wait in it may take, in milliseconds. */
export const LIMIT = { test: 120_000, hook: 150_000, wait: 40_000 };

export async function browse() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: ARGUMENTS, timeout: 120_000 });
}

/** Waits for something, and fails when it takes too long. */
export async function within(milliseconds, what, promise) {
  let timer;
  const late = new Promise((_, failed) => {
    timer = setTimeout(() => failed(new Error(`${what}: not done after ${milliseconds} ms`)), milliseconds);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Closes what a test left open, so that one that failed disturbs no other. */
export async function tidy(browser) {
  for (const context of browser?.contexts() ?? []) await within(10_000, "a page is closed", context.close());
}

/** A page whose errors and requests are noted in `page.faults`. */
export async function open(browser, url, options = {}) {
  const { allowed = [], ...context } = options;
  const page = await (await browser.newContext({ ignoreHTTPSErrors: true, ...context })).newPage();
  page.setDefaultTimeout(LIMIT.wait);
  page.faults = [];
  const origin = new URL(url).origin;
  page.on("console", (message) => {
    const text = `${message.text()} ${message.location().url}`;
    if (["error", "warning"].includes(message.type()) && !allowed.some((part) => text.includes(part))) page.faults.push(text);
  });
  page.on("pageerror", (error) => page.faults.push(`uncaught: ${error.message}`));
  page.on("request", (request) => {
    const target = new URL(request.url());
    if (target.protocol !== "data:" && target.origin !== origin) page.faults.push(`request to ${request.url()}`);
  });
  await page.goto(url);
  return page;
}
