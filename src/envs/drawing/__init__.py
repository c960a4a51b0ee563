"""Pictures of scenes: shapes, and their pixels."""
