// Swagger UI on the service's own description. No validator of another host is asked.

(async () => {
  const { status } = await fetch("docs.json", { method: "HEAD" });
  const token = status === 401 ? prompt("The service demands a token:") : null;
  SwaggerUIBundle({
    url: "docs.json",
    dom_id: "#ui",
    validatorUrl: null,
    requestInterceptor(request) {
      if (token) request.headers.Authorization = `Bearer ${token}`;
      return request;
    },
  });
})();
