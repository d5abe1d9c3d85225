// What the sources of the extension are held against, besides the compiler.
import tseslint from 'typescript-eslint';

export default tseslint.config(
  { ignores: ['dist/**', 'node_modules/**', 'test/e2e/**', 'media/**', 'scripts/**', '*.mjs'] },
  ...tseslint.configs.strictTypeChecked,
  // node:test runs what it is given; its promises are for subtests.
  { files: ['test/**'], rules: { '@typescript-eslint/no-floating-promises': 'off' } },
  { languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } } },
);
