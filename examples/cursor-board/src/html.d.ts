// Imports of these are text, by wrangler's own rules.
declare module "*.html" {
  const text: string;
  export default text;
}
