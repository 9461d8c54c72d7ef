/** A RegExp as the server's PCRE2 reads it. */

const FLAGS: Readonly<Record<string, string>> = { i: "i", m: "m", s: "s" };
const IGNORED = new Set(["g", "y", "d", "u"]);

/**
 * The pattern with its flags in front. `\uXXXX` and `\u{X}` are written as PCRE2 does.
 * @throws TypeError for the flag v, whose sets mean something else there.
 */
export function patternOf(expression: RegExp): string {
  let flags = "";
  for (const flag of expression.flags) {
    const known = FLAGS[flag];
    if (known) flags += known;
    else if (!IGNORED.has(flag)) throw new TypeError(`the flag ${flag} of ${String(expression)} is not supported`);
  }
  const source = expression.source.replace(/\\(?:u\{([0-9a-fA-F]+)\}|u([0-9a-fA-F]{4})|(\/)|([\s\S]))/g, (whole, braced?: string, four?: string, slash?: string) =>
    braced !== undefined || four !== undefined ? `\\x{${braced ?? four ?? ""}}` : slash ?? whole,
  );
  return flags ? `(?${flags})${source}` : source;
}
