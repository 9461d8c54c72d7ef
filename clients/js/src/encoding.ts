/** Text and bytes. */

const encoder = new TextEncoder();

export function utf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Text of bytes; what is no UTF-8 becomes U+FFFD. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes);
}

export function fromBase64(text: string): Uint8Array {
  const binary = atob(text.replace(/\s+/g, ""));
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

export function toBase64(bytes: Uint8Array): string {
  const PIECE = 0x8000; // more arguments than that overflow the stack of some engines
  let binary = "";
  for (let i = 0; i < bytes.length; i += PIECE) binary += String.fromCharCode(...bytes.subarray(i, i + PIECE));
  return btoa(binary);
}

/** Output that came as text, or as base64 because it is no text. */
export function outputBytes(data: string, encoding: string | undefined): Uint8Array {
  return encoding === "base64" ? fromBase64(data) : utf8(data);
}

export function outputText(data: string, encoding: string | undefined): string {
  return encoding === "base64" ? textOf(fromBase64(data)) : data;
}
