/** Pieces of manual pages in roff (man 7 man). */

export function section(title: string, body: readonly string[]): string[] {
  return [`.SH ${title.includes(' ') ? `"${title}"` : title}`, ...body];
}

export function paragraph(text: string): string[] {
  return ['.PP', ...fill(text)];
}

export function tagged(items: readonly (readonly [string, string])[]): string[] {
  return items.flatMap(([tag, text]) => ['.TP', `.B ${roff(tag)}`, ...fill(text)]);
}

export function code(text: string): string[] {
  return ['.PP', '.RS 4', '.nf', ...text.split('\n').map(roff), '.fi', '.RE'];
}

/** One sentence a line, as roff likes it for spacing and diffs. */
export function fill(text: string): string[] {
  return text.split(/(?<=[.!?]) (?=[A-Z"])/).map(roff);
}

/** Backslashes and dashes are special everywhere, dots and quotes at the start of a line (man 7 groff_char). */
export function roff(text: string): string {
  const body = text.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('~', '\\(ti').replaceAll('^', '\\(ha');
  return /^[.']/.test(body) ? `\\&${body}` : body;
}
