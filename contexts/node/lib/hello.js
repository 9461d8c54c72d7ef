'use strict';
// HELLO: what this runner is, for kernel_info.

const LANGUAGES = {
  javascript: {
    name: 'javascript', mimetype: 'text/javascript', file_extension: '.js', pygments_lexer: 'javascript',
    codemirror_mode: { name: 'javascript' }, nbconvert_exporter: 'script',
  },
  typescript: {
    name: 'typescript', mimetype: 'application/typescript', file_extension: '.ts', pygments_lexer: 'typescript',
    codemirror_mode: { name: 'javascript', typescript: true }, nbconvert_exporter: 'script',
  },
};

const TITLES = { javascript: 'JavaScript', typescript: 'TypeScript' };

function hello(language) {
  const version = process.versions.node;
  return {
    implementation: 'cellbox',
    implementation_version: version,
    language_info: { ...LANGUAGES[language], version },
    banner: `${TITLES[language]}, Node ${version}`,
    help_links: [{ text: 'Node.js', url: 'https://nodejs.org/docs/' }, { text: 'MDN', url: 'https://developer.mozilla.org/docs/Web/JavaScript' }],
    concurrent: ['complete', 'inspect', 'is_complete', 'history', 'comm_info'],
  };
}

module.exports = { hello };
