import assert from "node:assert/strict";
import test from "node:test";
import { SseParser } from "../dist/index.js";

const text =
  ": a comment\n\nid: 1\nevent: stdout\ndata: {\"text\":\"é😀\"}\n\n" +
  "data: two\r\ndata:  lines\r\n\r\nevent: only a name\n\nid: 3\rdata: cr\r\r" +
  "data: mixed\r\n\ndata\n\nretry: 5\nunknown: x\nid: a\0b\ndata: last\n\ndata: never ended\n";
const bytes = new TextEncoder().encode(text);
const expected = [
  { type: "stdout", data: '{"text":"é😀"}', id: "1" },
  { type: "message", data: "two\n lines", id: "1" },
  { type: "message", data: "cr", id: "3" },
  { type: "message", data: "mixed", id: "3" },
  { type: "message", data: "", id: "3" },
  { type: "message", data: "last", id: "3" },
];

const parse = (pieces) => {
  const parser = new SseParser();
  return pieces.flatMap((piece) => parser.feed(piece));
};

test("cut in two anywhere", () => {
  for (let cut = 0; cut <= bytes.length; cut++) assert.deepEqual(parse([bytes.subarray(0, cut), bytes.subarray(cut)]), expected, `cut at ${cut}`);
});

test("cut in three, and byte by byte", () => {
  for (let a = 0; a <= bytes.length; a += 3)
    for (let b = a; b <= bytes.length; b += 5)
      assert.deepEqual(parse([bytes.subarray(0, a), bytes.subarray(a, b), bytes.subarray(b)]), expected, `cut at ${a} and ${b}`);
  assert.deepEqual(parse(Array.from(bytes, (byte) => Uint8Array.of(byte))), expected);
});

test("a long line in many pieces takes linear time", () => {
  const parser = new SseParser();
  parser.feed(new TextEncoder().encode("data: "));
  const piece = new TextEncoder().encode("x".repeat(1000));
  for (let i = 0; i < 20_000; i++) assert.deepEqual(parser.feed(piece), []);
  assert.equal(parser.feed(new TextEncoder().encode("\n\n"))[0].data.length, 20_000_000);
});
