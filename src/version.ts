/** The version of this package; `test/unit/version.test.ts` keeps it equal to package.json's. */
export const VERSION = "0.3.0";
