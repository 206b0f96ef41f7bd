/** Whether a subject fits a pattern with `*` and `>`, decided once per pattern. */
export function matcher(pattern: string): (subject: string) => boolean {
  if (pattern === ">") return () => true;
  const tokens = pattern.split(".");
  const wild = tokens.findIndex((token) => token === "*" || token === ">");
  if (wild === -1) return (subject) => subject === pattern;
  const prefix = tokens
    .slice(0, wild)
    .map((token) => `${token}.`)
    .join("");
  if (wild === tokens.length - 1) {
    const rest = tokens[wild] === ">";
    return (subject) =>
      subject.length > prefix.length &&
      subject.startsWith(prefix) &&
      (rest || subject.indexOf(".", prefix.length) === -1);
  }
  return (subject) => {
    const parts = subject.split(".");
    for (const [index, token] of tokens.entries()) {
      if (token === ">") return parts.length > index;
      if (token !== "*" && token !== parts[index]) return false;
    }
    return parts.length === tokens.length;
  };
}
