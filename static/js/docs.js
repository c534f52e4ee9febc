// The API's description as a page to read and to try calls on, drawn by Swagger UI (static/vendor).

const place = document.getElementById("description");
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");

function follow() {
  const theme = root.dataset.theme;
  root.classList.toggle("dark-mode", theme === "dark" || (theme === "system" && dark.matches));
}

follow();
dark.addEventListener("change", follow);
new MutationObserver(follow).observe(root, { attributeFilter: ["data-theme"] });

const token = JSON.parse(document.body.getAttribute("hx-headers") || "{}")["X-CSRFToken"];

const described = await (await fetch(place.dataset.url)).json();
// This page sends the browser's cookie by itself: only a key is worth asking for.
const schemes = described.components.securitySchemes;
for (const name of Object.keys(schemes)) if (name !== "key") delete schemes[name];
for (const path of Object.values(described.paths)) {
  for (const operation of Object.values(path)) operation.security = [{ key: [] }];
}

window.SwaggerUIBundle({
  domNode: place,
  spec: described,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  defaultModelRendering: "example",
  displayRequestDuration: true,
  validatorUrl: null, // the description stays on this server
  requestInterceptor(request) {
    // A key speaks for itself; without one the browser's cookie does, which needs its token.
    if (!request.headers.Authorization && token && new URL(request.url, location).origin === location.origin) {
      request.headers["X-CSRFToken"] = token;
    }
    return request;
  },
});
