/**
 * HTML with everything escaped that is not HTML on purpose. What images hold is untrusted: a file may be called
 * `<script>`. The page also forbids scripts and outside resources by a policy in its head.
 */
import { unicodeOf } from '../text-codings.ts';

const ENTITIES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
};

/** Markup that is ready. */
export class Html {
  readonly text: string;

  constructor(text: string) {
    this.text = text;
  }
}

export type HtmlPart = Html | string | number | readonly HtmlPart[] | undefined;

/** Markup from a template: strings in it are byte strings and become text, `Html` stays as it is. */
export function html(strings: TemplateStringsArray, ...parts: readonly HtmlPart[]): Html {
  let text = strings[0] ?? '';
  for (const [index, part] of parts.entries()) text += render(part) + (strings[index + 1] ?? '');
  return new Html(text);
}

function render(part: HtmlPart): string {
  if (part === undefined) return '';
  if (part instanceof Html) return part.text;
  if (typeof part === 'object') return part.map(render).join('');
  return escapeHtml(String(part));
}

/** Text for elements and quoted attributes. Control characters and bytes that are no text become visible. */
export function escapeHtml(byteText: string): string {
  return (
    unicodeOf(byteText)
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is made visible.
      .replace(/[\x00-\x1f\x7f]/g, (char) =>
        String.fromCharCode(char === '\x7f' ? 0x2421 : 0x2400 + char.charCodeAt(0)),
      )
      .replace(/[\ud800-\udbff][\udc00-\udfff]|[\ud800-\udfff]/g, (match) => (match.length === 2 ? match : '\ufffd'))
      // Marks that turn the direction of text could make a name look like another one.
      .replace(/[\u202a-\u202e\u2066-\u2069]/g, '\ufffd')
      .replace(/[&<>"']/g, (char) => ENTITIES[char] ?? char)
  );
}
