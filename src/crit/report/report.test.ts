import { describe, expect, test } from 'bun:test';
import { sampleImages } from '../image-files.test-support.ts';
import { ImageFolder } from '../image-folder.ts';
import { verify } from '../verify.ts';
import { escapeHtml, html } from './html.ts';
import { drawReport } from './report.ts';

describe('HTML', () => {
  test('escapes all that comes from images', () => {
    expect(escapeHtml(`<a href="x" title='y'>&`)).toBe('&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;');
    expect(escapeHtml('a\nb\x1b\x7f\0')).toBe('a\u240ab\u241b\u2421\u2400');
    expect(escapeHtml('\xc3\xa4 \xff')).toBe('ä \ufffd');
    expect(escapeHtml('\xf0\x9f\x98\x80')).toBe('\u{1f600}');
    // A right-to-left override.
    expect(escapeHtml('\xe2\x80\xaetxt.exe')).toBe('\ufffdtxt.exe');
  });

  test('keeps markup that was made on purpose', () => {
    expect(html`<p>${'<'}${html`<b>${1}</b>`}${[html`x`, '&']}${undefined}</p>`.text).toBe('<p>&lt;<b>1</b>x&amp;</p>');
  });
});

describe('the report', () => {
  const images = sampleImages();
  const page = drawReport({ folder: new ImageFolder(images), path: '/tmp/"images"', verdict: verify(images) });

  test('has no scripts and nothing from elsewhere', () => {
    expect(page).not.toContain('<script');
    expect(page).toContain(`content="default-src 'none'; style-src 'unsafe-inline'"`);
    expect(page).not.toMatch(/(src|href)="(?!#)/);
    expect(page).not.toMatch(/url\(|@import/);
  });

  test('draws sizes to scale', () => {
    const widths = [...page.matchAll(/class="strip">(.*?)<\/div>/gs)].map(([, strip]) =>
      [...(strip ?? '').matchAll(/width:([0-9.]+)%/g)].reduce((sum, [, width]) => sum + Number(width), 0),
    );
    // Mapped and saved of the first task, mapped of the second.
    expect(widths).toHaveLength(3);
    for (const width of widths) expect(width).toBeCloseTo(100, 2);
    // 100 of the 1138 pages that are mapped.
    expect(page).toContain('class="private" style="width:8.7873%" title="400 KiB at 7f2000000000: rw- private memory"');
  });

  test('shows problems first', () => {
    const broken = sampleImages();
    broken.files.delete('core-11.img');
    const text = drawReport({ folder: new ImageFolder(broken), path: 'x', verdict: verify(broken) });
    expect(text).toContain('<h3>1 problem</h3>');
    expect(text).toContain('core-11.img: there is no such image');
  });
});
