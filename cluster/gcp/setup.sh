#!/usr/bin/env bash
# What a genae cluster on Google Cloud needs around it: a network, two service accounts, a bucket.
# Free but for what the bucket holds. Doing it again changes nothing that is there.
#
#   cluster/gcp/setup.sh PROJECT REGION SSH_RANGE     # SSH_RANGE: your address, 198.51.100.7/32
#   cluster/gcp/setup.sh PROJECT REGION --delete
set -euo pipefail

project=${1:?project} region=${2:?region} from=${3:?your address as a range, or --delete}
bucket=gs://$project-genae
on() { gcloud --quiet --project "$project" "$@"; }
there() { on "$@" >/dev/null 2>&1; }
account() { echo "$1@$project.iam.gserviceaccount.com"; }

if [ "$from" = --delete ]; then
    on compute firewall-rules delete genae-ssh genae-between || true
    on compute networks subnets delete genae --region "$region" || true
    on compute networks delete genae || true
    for name in genae-head genae-worker; do on iam service-accounts delete "$(account "$name")" || true; done
    on iam roles delete genaeAutoscaler || true
    echo "kept: $bucket (gcloud storage rm --recursive $bucket)"
    exit 0
fi
[[ $from =~ ^([0-9]{1,3}\.){3}[0-9]{1,3}/(1[6-9]|2[0-9]|3[0-2])$ ]] ||
    { echo "error: SSH_RANGE is a range of /16 or smaller, got $from" >&2; exit 2; }

for name in genae-head genae-worker; do
    there iam service-accounts describe "$(account "$name")" || on iam service-accounts create "$name"
done

there compute networks describe genae || on compute networks create genae --subnet-mode=custom
there compute networks subnets describe genae --region "$region" ||
    on compute networks subnets create genae --network genae --region "$region" --range 10.10.0.0/24
there compute firewall-rules describe genae-ssh ||
    on compute firewall-rules create genae-ssh --network genae --allow tcp:22 --source-ranges "$from"
on compute firewall-rules update genae-ssh --source-ranges "$from"
there compute firewall-rules describe genae-between ||
    on compute firewall-rules create genae-between --network genae --allow tcp,udp,icmp \
        --source-service-accounts "$(account genae-head),$(account genae-worker)" \
        --target-service-accounts "$(account genae-head),$(account genae-worker)"

# What Ray's autoscaler does on the head: instances, and nothing else of Compute Engine.
permissions=compute.instances.create,compute.instances.delete,compute.instances.get
permissions+=,compute.instances.list,compute.instances.setLabels,compute.instances.setMetadata
permissions+=,compute.instances.setServiceAccount,compute.instances.setTags
permissions+=,compute.disks.create,compute.images.useReadOnly,compute.zoneOperations.get
permissions+=,compute.subnetworks.use,compute.subnetworks.useExternalIp
there iam roles undelete genaeAutoscaler || true  # --delete leaves it for a week, and unusable
there iam roles describe genaeAutoscaler ||
    on iam roles create genaeAutoscaler --title "genae autoscaler" --permissions "$permissions"
on projects add-iam-policy-binding "$project" --condition=None --format=none \
    --member "serviceAccount:$(account genae-head)" --role "projects/$project/roles/genaeAutoscaler"
on iam service-accounts add-iam-policy-binding "$(account genae-worker)" --format=none \
    --member "serviceAccount:$(account genae-head)" --role roles/iam.serviceAccountUser

there storage buckets describe "$bucket" ||
    on storage buckets create "$bucket" --location "$region" --uniform-bucket-level-access \
        --public-access-prevention
for name in genae-head genae-worker; do
    on storage buckets add-iam-policy-binding "$bucket" --format=none \
        --member "serviceAccount:$(account "$name")" --role roles/storage.objectUser
done
echo "ready: network genae, accounts genae-head and genae-worker, $bucket"
