/** Reads the package sources of a Debian machine, to find the mirror of the Debian archive that it uses. Pure. */

export interface AptSource {
  types: string[];
  uris: string[];
  suites: string[];
  components: string[];
  /** Path of a keyring, or a key itself on several lines. */
  signedBy: string | undefined;
}

/** `deb822` style: paragraphs of fields, where an indented line continues the one before. */
export function parseDeb822(text: string): AptSource[] {
  const lines = text.split("\n").filter((line) => !line.startsWith("#"));
  const paragraphs = lines.join("\n").split(/\n\s*\n/);
  return paragraphs.flatMap((paragraph) => {
    const fields = new Map<string, string>();
    for (const [, name = "", value = ""] of paragraph.matchAll(/^([\w-]+):[ \t]*((?:.*)(?:\n[ \t].*)*)/gm)) {
      fields.set(name.toLowerCase(), value.trim());
    }
    const words = (name: string) => (fields.get(name) ?? "").split(/\s+/).filter((word) => word !== "");
    if (!fields.has("uris") || /^(no|false|0|off|disable|without)$/i.test(fields.get("enabled") ?? "")) return [];
    return {
      types: words("types"),
      uris: words("uris"),
      suites: words("suites"),
      components: words("components"),
      signedBy: fields.get("signed-by"),
    };
  });
}

/** One-line style: `deb [option=value …] uri suite component …`. */
export function parseOneLine(text: string): AptSource[] {
  return text.split("\n").flatMap((line) => {
    const match = /^\s*(deb|deb-src)\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)/.exec(line);
    if (!match) return [];
    const [, type = "", options = "", uri = "", suite = "", components = ""] = match;
    return {
      types: [type],
      uris: [uri],
      suites: [suite],
      components: components.split(/\s+/).filter((word) => word !== ""),
      signedBy: /(?:^|\s)signed-by=(\S+)/i.exec(options)?.[1],
    };
  });
}

/**
 * Whether this is the main archive of Debian: a plain release name among its suites (so neither `-security` nor
 * `-updates` alone), the component main, and Debian's keyring. Without a keyring the path has to be that of a mirror or a
 * snapshot of it, as other people's sources often have the same suites and components. Hosts say nothing: anyone mirrors.
 */
export function isDebianArchive({ types, uris, suites, components, signedBy }: AptSource): boolean {
  if (!types.includes("deb") || !components.includes("main")) return false;
  if (!suites.some((suite) => /^[a-z]+$/.test(suite))) return false;
  if (signedBy?.startsWith("/")) return signedBy.includes("/debian-archive-");
  return uris.every((uri) => /\/debian(\.list|\/\d{8}T\d{6}Z)?\/?$/.test(uri));
}

/** The same mirror and key with another suite, and no more of its indexes than the list of packages. */
export function withSuite({ uris, signedBy }: AptSource, suite: string): string {
  const fields = [
    "Types: deb",
    `URIs: ${uris.join(" ")}`,
    `Suites: ${suite}`,
    "Components: main",
    "Targets: Packages",
    "Languages: none",
    ...(signedBy === undefined ? [] : [`Signed-By: ${signedBy}`]),
  ];
  return `${fields.join("\n")}\n`;
}
