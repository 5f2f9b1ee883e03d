//! A value as the bytes of Flink's serializers, and serializer snapshots.
