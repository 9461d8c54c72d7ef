export function greeting() {
  return "Hello from the repository";
}
