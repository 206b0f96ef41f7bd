import { test } from "uvu";
import * as assert from "uvu/assert";
import { isDebianArchive, parseDeb822, parseOneLine, withSuite } from "../../src/bus/server/apt-sources.ts";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

const DEB822 = `# The machine's own.
Types: deb deb-src
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: ${KEYRING}

Types: deb
URIs: http://deb.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: ${KEYRING}

Enabled: no
Types: deb
URIs: http://ftp.example/debian
Suites: sid
Components: main
`;

/** Which of these lines are the Debian archive. */
function archivesIn(lines: string): string[] {
  return parseOneLine(lines)
    .filter(isDebianArchive)
    .map(({ uris }) => uris.join(" "));
}

test("deb822: the main archive is found, and neither security updates nor what is switched off", () => {
  const sources = parseDeb822(DEB822);
  assert.is(sources.length, 2);
  assert.equal(sources.map(isDebianArchive), [true, false]);
  assert.equal(sources[0], {
    types: ["deb", "deb-src"],
    uris: ["http://deb.example/debian"],
    suites: ["bookworm", "bookworm-updates"],
    components: ["main", "contrib"],
    signedBy: KEYRING,
  });
});

test("deb822: a field goes on over indented lines, such as a key", () => {
  const key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJ\n -----END PGP PUBLIC KEY BLOCK-----";
  const text = `types: deb\nuris: http://a.example/debian\n http://b.example/debian\nSuites: trixie\nComponents: main\nSigned-By:${key}\n`;
  const [source] = parseDeb822(text);
  assert.ok(source);
  assert.equal(source.uris, ["http://a.example/debian", "http://b.example/debian"]);
  assert.ok(isDebianArchive(source));
  assert.ok(withSuite(source, "forky").endsWith(`Signed-By: ${key.trim()}\n`));
});

test("one line: options and comments are understood", () => {
  const line = `deb [ arch=amd64 signed-by=${KEYRING} ] https://mirror.example/deb-mirror bookworm main contrib # ours`;
  const [source] = parseOneLine(`# a comment\n\n#deb http://x.example/debian sid main\n${line}\n`);
  assert.equal(source, {
    types: ["deb"],
    uris: ["https://mirror.example/deb-mirror"],
    suites: ["bookworm"],
    components: ["main", "contrib"],
    signedBy: KEYRING,
  });
  assert.ok(source && isDebianArchive(source));
});

test("without a keyring, the address has to look like a mirror of Debian", () => {
  const mirrors = [
    "http://deb.example/debian",
    "http://ftp.de.example/debian/",
    "http://snapshot.example/archive/debian/20250520T000000Z",
    "https://mirror.example/debian",
    "mirror+file:///etc/apt/mirrors/debian.list",
  ];
  assert.equal(archivesIn(mirrors.map((uri) => `deb ${uri} bookworm main`).join("\n")), mirrors);
});

test("other sources are not taken for Debian, however alike they look", () => {
  const lines = [
    "deb-src http://deb.example/debian bookworm main",
    "deb http://deb.example/debian bookworm-updates main",
    "deb http://deb.example/debian bookworm contrib",
    "deb http://security.example/debian-security bookworm-security main",
    "deb http://security.example/debian-security buster/updates main",
    "deb http://archive.example/ubuntu noble main",
    "deb https://releases.example bookworm main",
    "deb https://download.example/linux/debian bookworm stable",
    "deb [signed-by=/usr/share/keyrings/other.gpg] https://repos.example/debian stable main",
    "deb https://debian.example/apt bookworm main",
  ];
  assert.equal(archivesIn(lines.join("\n")), []);
});

test("another suite keeps mirror and key, and asks for the list of packages only", () => {
  const [source] = parseDeb822(DEB822);
  assert.ok(source);
  assert.is(
    withSuite(source, "forky"),
    `Types: deb
URIs: http://deb.example/debian
Suites: forky
Components: main
Targets: Packages
Languages: none
Signed-By: ${KEYRING}
`,
  );
});

test.run();
