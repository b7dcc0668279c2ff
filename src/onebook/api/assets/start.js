// Starts the API page. A file of its own, since the page's content security policy allows no inline scripts.
SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#document",
  deepLinking: true,
  validatorUrl: null,
});
