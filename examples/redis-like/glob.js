/**
 * Whether `text` matches `pattern`, where `*` stands for any characters and `?` for one.
 *
 * Takes at most `pattern.length * text.length` steps. A regular expression made of the pattern would not
 * be bounded like that, and patterns come from clients.
 */
export function matches(pattern, text) {
  let p = 0;
  let t = 0;
  let star = -1;
  let resume = 0;
  while (t < text.length) {
    if (pattern[p] === "*") {
      star = p++;
      resume = t;
    } else if (p < pattern.length && (pattern[p] === "?" || pattern[p] === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      // Let the last star take one character more.
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === "*") p++;
  return p === pattern.length;
}
