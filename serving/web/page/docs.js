// Swagger UI on the service's own description. No validator of another host is asked.
SwaggerUIBundle({ url: "docs.json", dom_id: "#ui", validatorUrl: null });
