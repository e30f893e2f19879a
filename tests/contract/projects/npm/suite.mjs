import assert from "node:assert";
import test from "node:test";

const scenario = process.env.SCENARIO;

test("always passes", () => {});

test("is skipped", { skip: true }, () => {});

test("does what the scenario says", async () => {
  if (scenario === "huge") {
    for (let line = 0; line < 3000; line++) console.log("x".repeat(1000));
  }
  if (scenario === "crash") process.abort();
  if (scenario === "hang") {
    console.log("hanging");
    await new Promise((resolve) => setTimeout(resolve, 3_600_000));
  }
  assert.notStrictEqual(scenario, "fail", "asked to fail");
});
