/**
 * Cache deception by path: `/account.php/x.css` is a page to an origin that takes what follows for its own parameters, and a style sheet to a
 * rule that goes by the path. What a rule would make fresh must not contradict the extension of its path. Pure. Called by response-policy.
 */
import { type FieldList, fieldValue } from '../http/header-fields.ts';

/** Media types, or beginnings of them that end in a slash or a hyphen. */
type TypeList = readonly string[];

const STYLE: TypeList = ['text/css'];
/** RFC 9239 s6: text/javascript, and the names that it makes obsolete. */
const SCRIPT: TypeList = ['text', 'application'].flatMap((type) =>
  ['javascript', 'ecmascript', 'x-javascript', 'x-ecmascript'].map((name) => `${type}/${name}`),
);
const IMAGE: TypeList = ['image/'];
const SOUND_OR_FILM: TypeList = ['audio/', 'video/', 'application/ogg', 'application/mp4'];
/** RFC 8081 names font/*; servers have older names. */
const FONT: TypeList = [
  'font/',
  'application/font-',
  'application/x-font-',
  'application/vnd.ms-fontobject',
  'application/vnd.ms-opentype',
];

/** What each extension may be. */
const TYPES: ReadonlyMap<string, TypeList> = new Map([
  ...entries('css', STYLE),
  ...entries('js mjs cjs', SCRIPT),
  ...entries('png jpg jpeg gif webp avif bmp ico svg svgz tif tiff jxl', IMAGE),
  ...entries('mp4 m4v webm mov mkv avi mpg mpeg ogv mp3 m4a aac flac wav ogg oga opus', SOUND_OR_FILM),
  ...entries('woff woff2 ttf otf eot', FONT),
  ...entries('pdf', ['application/pdf', 'application/x-pdf']),
]);

/** Packages, archives and images of disks have as many types as servers, text/plain among them; pages and data of a session they never are. */
const ARCHIVES: ReadonlySet<string> = new Set(
  'zip gz tgz bz2 xz txz zst lz4 7z rar tar jar whl deb udeb ddeb rpm drpm apk iso img qcow2 vmdk bin exe msi dmg appimage'.split(' '),
);
const PAGE = /^(?:text\/html|application\/xhtml\+xml|application\/json|application\/[^;]+\+json)$/;

/**
 * Whether the Content-Type is one that content under this path cannot have. Extensions that are not known have no wrong type; a response
 * without a type, and application/octet-stream, say nothing.
 *
 * @param path normalised, without query
 */
export function contradictsPath(path: string, fields: FieldList): boolean {
  const extension = /\.([a-z0-9]{1,8})$/i.exec(path)?.[1]?.toLowerCase();
  if (extension === undefined) return false;
  const type = (fieldValue(fields, 'content-type') ?? '').replace(/;.*/s, '').trim().toLowerCase();
  if (type === '' || type === 'application/octet-stream' || type === 'binary/octet-stream') return false;
  if (ARCHIVES.has(extension)) return PAGE.test(type);
  const allowed = TYPES.get(extension);
  return allowed !== undefined && !allowed.some((known) => (/[/-]$/.test(known) ? type.startsWith(known) : type === known));
}

function entries(extensions: string, types: TypeList): readonly (readonly [string, TypeList])[] {
  return extensions.split(' ').map((extension) => [extension, types]);
}
